#include "select.h"

#include <algorithm>

#include "level.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tamis {
namespace {

std::size_t select_range(const std::uint64_t* bits, std::uint32_t limit, const std::int32_t* rows,
                         std::size_t start, std::size_t count, bool wanted,
                         std::int32_t* positions) {
    std::size_t selected = 0;
    for (std::size_t i = start; i < count; ++i) {
        // a negative row is a large unsigned one
        const std::uint32_t row = static_cast<std::uint32_t>(rows[i]);
        const bool set = row < limit && bits[row / 64] >> row % 64 & 1;
        // written always, kept by the increment: whether a bit is set cannot be predicted
        positions[selected] = static_cast<std::int32_t>(i);
        selected += set == wanted;
    }
    return selected;
}

std::size_t select_scalar(const std::uint64_t* bits, std::uint32_t limit, const std::int32_t* rows,
                          std::size_t count, bool wanted, std::int32_t* positions) {
    return select_range(bits, limit, rows, 0, count, wanted, positions);
}

}  // namespace

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,bmi2,popcnt")
namespace {

std::size_t select_avx2(const std::uint64_t* bits, std::uint32_t limit, const std::int32_t* rows,
                        std::size_t count, bool wanted, std::int32_t* positions) {
    const int* words = reinterpret_cast<const int*>(bits);
    const __m256i last = _mm256_set1_epi32(static_cast<int>(limit - 1));
    std::size_t selected = 0, i = 0;
    for (; limit > 0 && i + 8 <= count; i += 8) {
        const __m256i row = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + i));
        const __m256i inside = _mm256_cmpeq_epi32(_mm256_min_epu32(row, last), row);
        const __m256i word = _mm256_mask_i32gather_epi32(_mm256_setzero_si256(), words,
                                                         _mm256_srli_epi32(row, 5), inside, 4);
        // the row's bit moved to the sign; a shift uses only the low 5 bits of ~row
        const __m256i up = _mm256_andnot_si256(row, _mm256_set1_epi32(31));
        unsigned kept = static_cast<unsigned>(
            _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sllv_epi32(word, up))));
        if (!wanted) kept ^= 0xff;
        for (; kept != 0; kept &= kept - 1)
            positions[selected++] = static_cast<std::int32_t>(i) + __builtin_ctz(kept);
    }
    return selected + select_range(bits, limit, rows, i, count, wanted, positions + selected);
}

}  // namespace
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,popcnt")
namespace {

std::size_t select_avx512(const std::uint64_t* bits, std::uint32_t limit, const std::int32_t* rows,
                          std::size_t count, bool wanted, std::int32_t* positions) {
    const __m512i end = _mm512_set1_epi32(static_cast<int>(limit));
    const __m512i one = _mm512_set1_epi32(1), low = _mm512_set1_epi32(31);
    __m512i position = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    std::size_t selected = 0;
    for (std::size_t i = 0; i < count; i += 16) {
        const std::size_t left = count - i;
        const __mmask16 valid =
            left >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1u << left) - 1);
        const __m512i row = _mm512_maskz_loadu_epi32(valid, rows + i);
        const __mmask16 inside = _mm512_mask_cmplt_epu32_mask(valid, row, end);
        // masked forms throughout: g++ 12 warns about the headers' plain ones (GCC bug 105593)
        const __m512i at = _mm512_maskz_srli_epi32(inside, row, 5);
        const __m512i word =
            _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), inside, at, bits, 4);
        const __m512i bit = _mm512_maskz_sllv_epi32(inside, one, _mm512_and_si512(row, low));
        const __mmask16 set = _mm512_test_epi32_mask(word, bit);
        const __mmask16 kept = wanted ? set : static_cast<__mmask16>(valid & ~set);
        // compressing in a register and storing whole would write past `count`
        const int found = __builtin_popcount(kept);
        _mm512_mask_storeu_epi32(positions + selected, static_cast<__mmask16>((1u << found) - 1),
                                 _mm512_maskz_compress_epi32(kept, position));
        selected += static_cast<std::size_t>(found);
        position = _mm512_add_epi32(position, _mm512_set1_epi32(16));
    }
    return selected;
}

}  // namespace
#pragma GCC pop_options
#else
namespace {
constexpr auto select_avx2 = select_scalar;
constexpr auto select_avx512 = select_scalar;
}  // namespace
#endif

std::size_t select(const std::uint64_t* bits, std::size_t words, const std::int32_t* rows,
                   std::size_t count, bool wanted, std::int32_t* positions) {
    // rows end at 2^31, so longer masks hold nothing more that can be asked for
    const auto limit = static_cast<std::uint32_t>(
        std::min<std::size_t>(words, std::size_t{1} << 25) * 64);
    return variant(active_level(), select_scalar, select_avx2, select_avx512)(
        bits, limit, rows, count, wanted, positions);
}

}  // namespace tamis
