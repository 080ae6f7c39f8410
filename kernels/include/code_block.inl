// Inner products of rows of 8-bit codes with a query's; for bodies of each_tier.h. Rows hold codes
// of 1 to 255, 128 for 0, the query -127 to 127. Sums are exact, so levels agree.

#if TAMIS_TIER == 2
typedef std::int8_t QueryCode;
#else  // in 16 bits: 8-bit products would saturate
typedef std::int16_t QueryCode;
#endif

// 127 codes to the largest number; NaN counts as 0. Filled up to `width`.
inline void encode_query(const float* query, std::size_t dims, std::size_t width, QueryCode* codes) {
    float most = 0;
    for (std::size_t d = 0; d < dims; ++d) {
        const float size = __builtin_fabsf(query[d]);
        most = size > most ? size : most;
    }
    const float scale = most > 1e-30f ? 127 / most : 0;
    for (std::size_t d = 0; d < width; ++d) {
        const float scaled = d < dims ? query[d] * scale : 0;
        codes[d] = static_cast<QueryCode>(scaled == scaled ? __builtin_rintf(scaled) : 0);
    }
}

// The products of four rows, of `width` codes, a multiple of 64.
inline void code_dots(const std::uint8_t* const* row, const QueryCode* query, std::size_t width,
                      std::int32_t* products) {
#if TAMIS_TIER == 2
    __m512i sum[4] = {};
    for (std::size_t d = 0; d < width; d += 64) {
        const __m512i q = _mm512_loadu_si512(query + d);
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r)
            sum[r] = _mm512_dpbusd_epi32(sum[r], _mm512_loadu_si512(row[r] + d), q);
    }
    // masked forms: g++ 12 warns about the headers' plain ones (GCC bug 105593)
    constexpr __mmask16 all = 0xffff;
    constexpr __mmask8 all8 = 0xff;
    const __m512i low = _mm512_add_epi32(_mm512_maskz_unpacklo_epi32(all, sum[0], sum[1]),
                                         _mm512_maskz_unpackhi_epi32(all, sum[0], sum[1]));
    const __m512i high = _mm512_add_epi32(_mm512_maskz_unpacklo_epi32(all, sum[2], sum[3]),
                                          _mm512_maskz_unpackhi_epi32(all, sum[2], sum[3]));
    const __m512i both = _mm512_add_epi32(_mm512_maskz_unpacklo_epi64(all8, low, high),
                                          _mm512_maskz_unpackhi_epi64(all8, low, high));
    __m128i part[4];
    std::memcpy(part, &both, sizeof part);
    const __m128i four = _mm_add_epi32(_mm_add_epi32(part[0], part[1]),
                                       _mm_add_epi32(part[2], part[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(products), four);
#elif TAMIS_TIER == 1
    __m256i sum[4] = {};
    for (std::size_t d = 0; d < width; d += 16) {
        const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query + d));
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r) {
            const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row[r] + d));
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(_mm256_cvtepu8_epi16(codes), q));
        }
    }
    const __m256i both = _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]),
                                           _mm256_hadd_epi32(sum[2], sum[3]));
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(products), four);
#else
    for (int r = 0; r < 4; ++r) {
        std::int32_t sum = 0;
        for (std::size_t d = 0; d < width; ++d) sum += row[r][d] * query[d];
        products[r] = sum;
    }
#endif
}
