// Loops that a compiler turns into whole registers: numbers are compared as their bits are.

// The bits of the largest number of a row without its sign, or `most` where that is larger.
std::uint32_t largest_bits(const float* row, std::size_t dims, std::uint32_t most) {
    for (std::size_t d = 0; d < dims; ++d) {
        std::uint32_t bits;
        std::memcpy(&bits, row + d, sizeof bits);
        bits &= 0x7fffffffu;
        bits = bits < 0x7f800000u ? bits : 0;  // infinity and NaN do not count
        most = bits > most ? bits : most;
    }
    return most;
}

void encode_row(const float* row, std::size_t dims, float scale, std::uint8_t* codes) {
    constexpr float rounding = 0x1.8p23f;  // leaves whole numbers in the low bits
    for (std::size_t d = 0; d < dims; ++d) {
        float number;
        std::memcpy(&number, row + d, sizeof number);
        const float scaled = number * scale;
        const float rounded = (__builtin_fabsf(scaled) <= 127.5f ? scaled : 0) + rounding;
        std::uint32_t bits;
        std::memcpy(&bits, &rounded, sizeof bits);
        codes[d] = static_cast<std::uint8_t>(bits + 128);
    }
    std::memset(codes + dims, 128, code_width(dims) - dims);
}
