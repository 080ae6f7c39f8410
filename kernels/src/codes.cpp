#include "codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace tamis {
namespace {

float at(const float* from) {
    float value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

}  // namespace

float largest_number(const float* vectors, const std::int32_t* rows, std::size_t count,
                     std::size_t dims) {
    float most = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const float* row = vectors + (rows == nullptr ? i : static_cast<std::size_t>(rows[i])) * dims;
        for (std::size_t d = 0; d < dims; ++d) {
            const float size = std::fabs(at(row + d));
            most = size > most && size <= std::numeric_limits<float>::max() ? size : most;
        }
    }
    return most;
}

CodeFit encode_row(const float* row, std::size_t dims, float most, std::uint8_t* codes) {
    const float scale = most > 1e-30f ? 127 / most : 0, step = most / 127;
    constexpr float rounding = 0x1.8p23f;  // leaves whole numbers in the low bits
    float residual = 0, length = 0;
    for (std::size_t d = 0; d < code_width(dims); ++d) {
        const float number = d < dims ? at(row + d) : 0;
        const float scaled = number * scale;
        const float rounded = (std::fabs(scaled) <= 127.5f ? scaled : 0) + rounding;
        std::uint32_t bits;
        std::memcpy(&bits, &rounded, sizeof bits);
        codes[d] = static_cast<std::uint8_t>(bits + 128);
        const float left = number - (rounded - rounding) * step;
        residual += left * left;
        length += number * number;
    }
    // a row that holds something that is no number makes both infinite
    residual = residual <= std::numeric_limits<float>::max() ? std::sqrt(residual) : INFINITY;
    length = length <= std::numeric_limits<float>::max() ? std::sqrt(length) : INFINITY;
    return {step, residual, length};
}

CodeFit encode_rows(const float* vectors, std::size_t rows, std::size_t dims,
                    std::uint8_t* codes) {
    const float most = largest_number(vectors, nullptr, rows, dims);
    CodeFit fit{most / 127, 0, 0};
    for (std::size_t row = 0; row < rows; ++row) {
        const CodeFit own =
            encode_row(vectors + row * dims, dims, most, codes + row * code_width(dims));
        fit.residual = std::max(fit.residual, own.residual);
        fit.length = std::max(fit.length, own.length);
    }
    return fit;
}

}  // namespace tamis
