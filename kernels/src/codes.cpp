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

CodeFit encode_rows(const float* vectors, std::size_t rows, std::size_t dims,
                    std::uint8_t* codes) {
    float most = 0;
    for (std::size_t i = 0; i < rows * dims; ++i) {
        const float size = std::fabs(at(vectors + i));
        most = size > most && size <= std::numeric_limits<float>::max() ? size : most;
    }
    const float scale = most > 1e-30f ? 127 / most : 0;
    constexpr float rounding = 0x1.8p23f;  // leaves whole numbers in the low bits
    const std::size_t width = code_width(dims);
    CodeFit fit{most / 127, 0, 0};
    for (std::size_t row = 0; row < rows; ++row) {
        float residual = 0, length = 0;
        for (std::size_t d = 0; d < width; ++d) {
            const float number = d < dims ? at(vectors + row * dims + d) : 0;
            const float scaled = number * scale;
            const float rounded = (std::fabs(scaled) <= 127.5f ? scaled : 0) + rounding;
            std::uint32_t bits;
            std::memcpy(&bits, &rounded, sizeof bits);
            codes[row * width + d] = static_cast<std::uint8_t>(bits + 128);
            const float left = number - (rounded - rounding) * fit.step;
            residual += left * left;
            length += number * number;
        }
        // a row that holds something that is no number makes both infinite
        residual = residual <= std::numeric_limits<float>::max() ? std::sqrt(residual) : INFINITY;
        length = length <= std::numeric_limits<float>::max() ? std::sqrt(length) : INFINITY;
        fit.residual = std::max(fit.residual, residual);
        fit.length = std::max(fit.length, length);
    }
    return fit;
}

}  // namespace tamis
