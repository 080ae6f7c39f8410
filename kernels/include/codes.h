// Vectors in codes of 8 bits: what the searches compare before they score what they found exactly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// Codes of a row of `dims` numbers: whole cache lines.
constexpr std::size_t code_width(std::size_t dims) { return (dims + 63) / 64 * 64; }

// 127 codes to the largest number in the table, around 128 for 0; a number that is none counts as
// 0. `vectors` is [rows][dims] and may be unaligned, `codes` [rows][code_width(dims)].
void encode_rows(const float* vectors, std::size_t rows, std::size_t dims, std::uint8_t* codes);

}  // namespace tamis
