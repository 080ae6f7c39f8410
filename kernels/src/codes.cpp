#include "codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "level.h"

#define TAMIS_BODY "../src/encode.inl"
#include "each_tier.h"

namespace tamis {
namespace {

// How well codes stand for their row.
CodeFit fit_of(const float* row, std::size_t dims, float step, const std::uint8_t* codes) {
    float residual = 0, length = 0;
    for (std::size_t d = 0; d < dims; ++d) {
        float number;
        std::memcpy(&number, row + d, sizeof number);
        const float left = number - static_cast<float>(codes[d] - 128) * step;
        residual += left * left;
        length += number * number;
    }
    // a row that holds something that is no number makes both infinite
    residual = residual <= std::numeric_limits<float>::max() ? std::sqrt(residual) : INFINITY;
    length = length <= std::numeric_limits<float>::max() ? std::sqrt(length) : INFINITY;
    return {step, residual, length};
}

const float* row_at(const float* vectors, const std::int32_t* rows, std::size_t i, std::size_t dims) {
    return vectors + (rows == nullptr ? i : static_cast<std::size_t>(rows[i])) * dims;
}

}  // namespace

float largest_number(const float* vectors, const std::int32_t* rows, std::size_t count,
                     std::size_t dims) {
    const auto largest = variant(active_level(), scalar::largest_bits, avx2::largest_bits,
                                 avx512::largest_bits);
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < count; ++i)
        bits = largest(row_at(vectors, rows, i, dims), dims, bits);
    float most;
    std::memcpy(&most, &bits, sizeof most);
    return most;
}

void encode(const float* vectors, const std::int32_t* rows, std::size_t count, std::size_t dims,
            float most, std::uint8_t* codes) {
    const auto encode_row =
        variant(active_level(), scalar::encode_row, avx2::encode_row, avx512::encode_row);
    const float scale = most > 1e-30f ? 127 / most : 0;
    for (std::size_t i = 0; i < count; ++i)
        encode_row(row_at(vectors, rows, i, dims), dims, scale, codes + i * code_width(dims));
}

CodeFit encode_rows(const float* vectors, std::size_t rows, std::size_t dims,
                    std::uint8_t* codes) {
    const float most = largest_number(vectors, nullptr, rows, dims);
    encode(vectors, nullptr, rows, dims, most, codes);
    CodeFit fit{most / 127, 0, 0};
    for (std::size_t row = 0; row < rows; ++row) {
        const CodeFit own = fit_of(vectors + row * dims, dims, fit.step, codes + row * code_width(dims));
        fit.residual = std::max(fit.residual, own.residual);
        fit.length = std::max(fit.length, own.length);
    }
    return fit;
}

}  // namespace tamis
