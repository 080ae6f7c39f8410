// Inner products of gathered rows with queries.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// `vectors` is [n][dims] and may be unaligned, `queries` [query_count][dims]; writes the first
// query_count of each row of products[count][stride]. Every row is in range.
void dot_rows(const float* vectors, std::size_t dims, const std::int32_t* rows, std::size_t count,
              const float* queries, std::size_t query_count, float* products, std::size_t stride);

// With nothing between the rows of products.
inline void dot_rows(const float* vectors, std::size_t dims, const std::int32_t* rows,
                     std::size_t count, const float* queries, std::size_t query_count,
                     float* products) {
    dot_rows(vectors, dims, rows, count, queries, query_count, products, query_count);
}

}  // namespace tamis
