// Exact search: the products of every allowed row, and the best of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

struct ScanTable {
    const float* vectors;  // [size][dims], may be unaligned
    std::size_t size, dims;
    const std::uint64_t* bits;  // [words], a bit an allowed row, or null: all are
    std::size_t words;
};

// The best k allowed rows of each query [query_count][dims], filled up with -1 and -inf.
void scan(const ScanTable& table, const float* queries, std::size_t query_count, std::size_t k,
          std::int32_t* rows, float* scores);

}  // namespace tamis
