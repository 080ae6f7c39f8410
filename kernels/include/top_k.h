// The k best scores in order.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// Writes min(k, count) positions: score descending (NaN last, -0.0 equal to 0.0), then row, then
// position ascending.
void top_k(const float* scores, const std::int32_t* rows, std::size_t count, std::size_t k,
           std::int32_t* positions);

// The same, and their scores brought to 0..1 over the least and the greatest finite one; 1 where all of
// these are equal, NaN where one is not finite. `scaled` has room for min(k, count).
void best_scaled(const float* scores, const std::int32_t* rows, std::size_t count, std::size_t k,
                 std::int32_t* positions, float* scaled);

}  // namespace tamis
