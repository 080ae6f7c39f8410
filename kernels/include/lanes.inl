// A register of kLanes floats (GCC and Clang vector extension); for bodies of each_tier.h.

typedef float Lanes __attribute__((vector_size(4 * kLanes)));

// Loads go through memcpy: an array from the outside may start at any byte.
inline float load_one(const float* from) {
    float value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline Lanes load(const float* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

#if TAMIS_TIER == 2
inline Lanes load(const Half* from) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_maskz_cvtph_ps(0xffff, halves);  // unmasked, g++ 12 warns (GCC bug 105593)
}
#elif TAMIS_TIER == 1
inline Lanes load(const Half* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#else
inline Lanes load(const Half* from) {
    Lanes lanes;
    for (int i = 0; i < kLanes; ++i) lanes[i] = load_one(from + i);
    return lanes;
}
#endif

inline void store(float* to, Lanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

inline Lanes broadcast(float value) { return value - Lanes{}; }

typedef float Quad __attribute__((vector_size(16)));

// Halved in registers: through an array in memory the loads would wait for the stores.
inline float total(Lanes lanes) {
    Quad part[kLanes / 4];
    std::memcpy(part, &lanes, sizeof part);
#pragma GCC unroll 4
    for (int width = kLanes / 8; width > 0; width /= 2)
#pragma GCC unroll 4
        for (int i = 0; i < width; ++i) part[i] += part[i + width];
    Quad sum = part[0];
    sum += __builtin_shufflevector(sum, sum, 2, 3, 0, 1);
    sum += __builtin_shufflevector(sum, sum, 1, 0, 3, 2);
    return sum[0];
}

// NaN in `lanes` never wins.
inline Lanes larger(Lanes lanes, Lanes best) { return lanes > best ? lanes : best; }
