// IEEE 754 binary16, stored only: sums are in float.
#pragma once

#include <cstdint>
#include <cstring>

namespace tamis {

struct Half {
    std::uint16_t bits;
};

// One half at any address; lanes.inl has whole registers of them.
inline float load_one(const Half* from) {
    std::uint16_t bits;
    std::memcpy(&bits, from, sizeof bits);
    const std::uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu;
    std::uint32_t wide;
    if (rest >= 0x7c00u) {
        wide = rest << 13 | 0x7f800000u;  // infinity, NaN
    } else if (rest >= 0x0400u) {
        wide = (rest << 13) + (112u << 23);
    } else {  // subnormal: so many times 2^-24
        const float small = static_cast<float>(rest) * 0x1p-24f;
        std::memcpy(&wide, &small, sizeof wide);
    }
    wide |= sign;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}

// The half nearest to a float, ties to even; infinity beyond 65504; NaN stays one.
inline Half nearest_half(float value) {
    std::uint32_t wide;
    std::memcpy(&wide, &value, sizeof wide);
    const auto sign = static_cast<std::uint16_t>(wide >> 16 & 0x8000u);
    const std::uint32_t rest = wide & 0x7fffffffu;
    std::uint32_t half;
    if (rest > 0x7f800000u) {
        half = 0x7e00u | (rest >> 13 & 0x3ffu);
    } else if (rest >= 0x47800000u) {
        half = 0x7c00u;
    } else if (rest >= 0x38800000u) {  // a carry of rounding may reach the exponent, and infinity
        half = (rest - (112u << 23) + 0xfffu + (rest >> 13 & 1u)) >> 13;
    } else {  // so many times 2^-24: the sum leaves them in the low bits, rounded
        float sum;
        std::memcpy(&sum, &rest, sizeof sum);
        sum += 0.5f;
        std::memcpy(&half, &sum, sizeof half);
        half -= 0x3f000000u;
    }
    return {static_cast<std::uint16_t>(sign | half)};
}

}  // namespace tamis
