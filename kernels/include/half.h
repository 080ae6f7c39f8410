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

}  // namespace tamis
