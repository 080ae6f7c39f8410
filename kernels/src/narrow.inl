#include "lanes.inl"

#if TAMIS_TIER == 2
inline void store(Half* to, Lanes lanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm512_maskz_cvtps_ph(0xffff, lanes, _MM_FROUND_TO_NEAREST_INT));
}
#elif TAMIS_TIER == 1
inline void store(Half* to, Lanes lanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm256_cvtps_ph(lanes, _MM_FROUND_TO_NEAREST_INT));
}
#else
inline void store(Half* to, Lanes lanes) {
    for (int i = 0; i < kLanes; ++i) to[i] = nearest_half(lanes[i]);
}
#endif

void narrow(const float* from, std::size_t count, Half* to) {
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
    for (; i < count; ++i) to[i] = nearest_half(load_one(from + i));
}
