// Products of codes: whole numbers of 0 to 255 with weights of -127 to 127; for bodies of
// each_tier.h. Sums are exact, so levels agree.

typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));

#if TAMIS_TIER == 2
typedef std::uint8_t Code;
typedef std::int8_t CodeWeight;
#else  // pairs of 16 bits: 8-bit products would saturate
typedef std::int16_t Code;
typedef std::int16_t CodeWeight;
#endif
constexpr std::size_t kGroup = 4 / sizeof(Code);
typedef Code Codes __attribute__((vector_size(sizeof(Code) * kLanes)));

inline Ints load_groups(const CodeWeight* from) {
    Ints groups;
    std::memcpy(&groups, from, sizeof groups);
    return groups;
}

inline Ints broadcast_group(const Code* from) {
    std::int32_t group;
    std::memcpy(&group, from, sizeof group);
    return group - Ints{};
}

// Adds to each lane the products of its group of codes with its group of weights.
inline Ints add_products(Ints sum, Ints codes, Ints weights) {
#if TAMIS_TIER == 2
    return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)codes, (__m512i)weights);
#elif TAMIS_TIER == 1
    return sum + (Ints)_mm256_madd_epi16((__m256i)codes, (__m256i)weights);
#else
    return sum + (codes << 16 >> 16) * (weights << 16 >> 16) + (codes >> 16) * (weights >> 16);
#endif
}

typedef std::int32_t IntQuad __attribute__((vector_size(16)));

inline IntQuad larger(IntQuad left, IntQuad right) { return left > right ? left : right; }

inline std::int32_t highest(Ints lanes) {
    IntQuad part[kLanes / 4];
    std::memcpy(part, &lanes, sizeof part);
#pragma GCC unroll 4
    for (int i = 1; i < kLanes / 4; ++i) part[0] = larger(part[0], part[i]);
    IntQuad high = part[0];
    high = larger(high, __builtin_shufflevector(high, high, 2, 3, 0, 1));
    high = larger(high, __builtin_shufflevector(high, high, 1, 0, 3, 2));
    return high[0];
}

// The codes of numbers that are none below 0, and returns what a code is worth; it is NaN if one of
// the numbers is. `count` is a multiple of kLanes.
inline float encode(const float* from, std::size_t count, Code* codes) {
    Ints peak = {};
    for (std::size_t i = 0; i < count; i += kLanes) {
        // as whole numbers floats keep their order, and NaN comes after all
        const Ints bits = (Ints)load(from + i) & 0x7fffffff;
        peak = bits > peak ? bits : peak;
    }
    const std::int32_t high = highest(peak);
    float most;
    std::memcpy(&most, &high, sizeof most);
    const Lanes scale = broadcast(most > 1e-30f ? 255 / most : 0);
    const Lanes rounding = broadcast(0x1.8p23f);  // leaves whole numbers in the low bits
    for (std::size_t i = 0; i < count; i += kLanes) {
        const Ints whole = (Ints)(load(from + i) * scale + rounding) & 0xff;
        const Codes narrow = __builtin_convertvector(whole, Codes);
        std::memcpy(codes + i, &narrow, sizeof narrow);
    }
    return most / 255;
}
