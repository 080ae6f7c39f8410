// Exact search by way of codes: the products of codes tell, within a bound, which rows can be among
// the best; these alone are scored exactly.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codes.h"

namespace tamis {

struct CodedVectors {
    const float* vectors;       // [size][dims], may be unaligned
    const std::uint8_t* codes;  // [size][code_width(dims)], of encode_rows
    CodeFit fit;
    std::size_t size, dims;
};

// The best k allowed rows of each query [query_count][dims], filled up with -1 and -inf: those of
// `scan`. `bits`, [words], a bit an allowed row, or null: all are.
void scan_codes(const CodedVectors& table, const std::uint64_t* bits, std::size_t words,
                const float* queries, std::size_t query_count, std::size_t k, std::int32_t* rows,
                float* scores);

}  // namespace tamis
