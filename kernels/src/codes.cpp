#include "codes.h"

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

void encode_rows(const float* vectors, std::size_t rows, std::size_t dims, std::uint8_t* codes) {
    float most = 0;
    for (std::size_t i = 0; i < rows * dims; ++i) {
        const float size = std::fabs(at(vectors + i));
        most = size > most && size <= std::numeric_limits<float>::max() ? size : most;
    }
    const float scale = most > 1e-30f ? 127 / most : 0;
    constexpr float rounding = 0x1.8p23f;  // leaves whole numbers in the low bits
    const std::size_t width = code_width(dims);
    for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t d = 0; d < width; ++d) {
            const float scaled = d < dims ? at(vectors + row * dims + d) * scale : 0;
            const float rounded = (std::fabs(scaled) <= 127.5f ? scaled : 0) + rounding;
            std::uint32_t bits;
            std::memcpy(&bits, &rounded, sizeof bits);
            codes[row * width + d] = static_cast<std::uint8_t>(bits + 128);
        }
}

}  // namespace tamis
