// Vectors in codes of 8 bits: what the searches compare before they score what they found exactly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// Codes of a row of `dims` numbers: whole cache lines.
constexpr std::size_t code_width(std::size_t dims) { return (dims + 63) / 64 * 64; }

// How well codes stand for their rows: a row is its codes less 128, times `step`, give or take a
// vector no longer than `residual`; no row is longer than `length`.
struct CodeFit {
    float step, residual, length;
};

// The largest number of these rows, without its sign; rows null: of the first `count`. `vectors` is
// [...][dims] and may be unaligned.
float largest_number(const float* vectors, const std::int32_t* rows, std::size_t count,
                     std::size_t dims);

// Codes [code_width(dims)] of each of `count` rows, 127 to `most`, around 128 for 0; a number that is
// none counts as 0. rows null: of the first `count`.
void encode(const float* vectors, const std::int32_t* rows, std::size_t count, std::size_t dims,
            float most, std::uint8_t* codes);

// Those of a table by its own largest number, and how well they stand for it: `vectors` is [rows][dims], `codes` [rows][code_width(dims)].
CodeFit encode_rows(const float* vectors, std::size_t rows, std::size_t dims, std::uint8_t* codes);

}  // namespace tamis
