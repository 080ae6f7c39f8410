// Products of blocks of codes with a query's: whole numbers, so levels agree.

// Products of sixteen rows.
struct Sums {
    std::int32_t of[kBlockRows];
};

inline std::int32_t load_four(const void* from) {
    std::int32_t bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    return bytes;
}

inline Sums products_of(const ByteBlocks& table, std::size_t block, const IvfQuery& query) {
    const std::uint8_t* from = table.block(block);
    Sums sums{};
#if TAMIS_TIER == 2
    // four chains, each waiting for itself; memory is read in its order, which it is fastest at
    __m512i chain[4] = {};
    const auto add = [&](std::size_t g, __m512i& sum) {
        const __m512i four = _mm512_set1_epi32(load_four(query.codes + g * 4));
        sum = _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(from + g * kBlockRows * 4), four);
    };
    std::size_t g = 0;
    for (; g + 4 <= table.groups; g += 4)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < 4; ++c) add(g + c, chain[c]);
    for (; g < table.groups; ++g) add(g, chain[0]);
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(chain[0], chain[1]),
                                         _mm512_add_epi32(chain[2], chain[3]));
    _mm512_storeu_si512(sums.of, sum);
#elif TAMIS_TIER == 1  // by 16 bits: products of 8 would saturate
    const __m256i low = _mm256_set1_epi16(0xff);
    __m256i sum[2] = {};
    for (std::size_t g = 0; g < table.groups; ++g, from += kBlockRows * 4) {
        const __m256i even = _mm256_set1_epi32(load_four(query.pairs + g * 4));
        const __m256i odd = _mm256_set1_epi32(load_four(query.pairs + g * 4 + 2));
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
            const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from) + half);
            const __m256i evens = _mm256_madd_epi16(_mm256_and_si256(codes, low), even);
            const __m256i odds = _mm256_madd_epi16(_mm256_srli_epi16(codes, 8), odd);
            sum[half] = _mm256_add_epi32(sum[half], _mm256_add_epi32(evens, odds));
        }
    }
    std::memcpy(sums.of, sum, sizeof sum);
#else
    for (std::size_t g = 0; g < table.groups; ++g)
        for (std::size_t r = 0; r < kBlockRows; ++r, from += 4)
            for (std::size_t d = 0; d < 4; ++d) sums.of[r] += from[d] * query.codes[g * 4 + d];
#endif
    return sums;
}

// Products of what sixteen rows differ by from their centroid.
inline Sums residuals_of(const std::uint8_t* from, std::size_t groups, const std::int8_t* query) {
    Sums sums{};
#if TAMIS_TIER == 2
    const __m512i low = _mm512_set1_epi8(0xf);
    __m512i chain[4] = {};
    const auto add = [&](std::size_t g, __m512i& even, __m512i& odd) {
        const __m512i both = _mm512_loadu_si512(from + g * 2 * kBlockRows);
        even = _mm512_dpbusd_epi32(even, _mm512_and_si512(both, low),
                                   _mm512_set1_epi32(load_four(query + g * 4)));
        odd = _mm512_dpbusd_epi32(odd, _mm512_and_si512(_mm512_srli_epi16(both, 4), low),
                                  _mm512_set1_epi32(load_four(query + g * 4 + 4)));
    };
    std::size_t g = 0;
    for (; g + 4 <= groups; g += 4) {
        add(g, chain[0], chain[1]);
        add(g + 2, chain[2], chain[3]);
    }
    if (g < groups) add(g, chain[0], chain[1]);
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(chain[0], chain[1]),
                                         _mm512_add_epi32(chain[2], chain[3]));
    _mm512_storeu_si512(sums.of, sum);
#elif TAMIS_TIER == 1
    const __m256i low = _mm256_set1_epi8(0xf), one = _mm256_set1_epi16(1);
    __m256i sum[2] = {};
    for (std::size_t g = 0; g < groups; g += 2, from += kBlockRows * 4) {
        const __m256i first = _mm256_set1_epi32(load_four(query + g * 4));
        const __m256i second = _mm256_set1_epi32(load_four(query + g * 4 + 4));
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
            const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from) + half);
            // pairs of products of 15 and 127 do not saturate, nor do two of them
            const __m256i pairs = _mm256_add_epi16(
                _mm256_maddubs_epi16(_mm256_and_si256(both, low), first),
                _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(both, 4), low), second));
            sum[half] = _mm256_add_epi32(sum[half], _mm256_madd_epi16(pairs, one));
        }
    }
    std::memcpy(sums.of, sum, sizeof sum);
#else
    for (std::size_t g = 0; g < groups; g += 2)
        for (std::size_t r = 0; r < kBlockRows; ++r, from += 4)
            for (std::size_t d = 0; d < 4; ++d)
                sums.of[r] += (from[d] & 0xf) * query[g * 4 + d] + (from[d] >> 4) * query[g * 4 + 4 + d];
#endif
    return sums;
}

// A bit for each of sixteen rows that is one, and allowed.
inline std::uint32_t allowed_of(const std::int32_t* rows, const std::uint64_t* allowed) {
#if TAMIS_TIER == 2
    const __m512i row = _mm512_loadu_si512(rows);
    const __mmask16 there = _mm512_cmpge_epi32_mask(row, _mm512_setzero_si512());
    if (allowed == nullptr) return there;
    const __m512i word = _mm512_mask_i32gather_epi32(
        _mm512_setzero_si512(), there, _mm512_maskz_srli_epi32(there, row, 5), allowed, 4);
    const __m512i bit = _mm512_maskz_sllv_epi32(
        there, _mm512_set1_epi32(1), _mm512_and_si512(row, _mm512_set1_epi32(31)));
    return _mm512_mask_test_epi32_mask(there, word, bit);
#else
    std::uint32_t bits = 0;
    for (std::size_t r = 0; r < kBlockRows; ++r) {
        const auto at = static_cast<std::size_t>(rows[r] < 0 ? 0 : rows[r]);
        const std::uint64_t is = allowed == nullptr ? 1 : allowed[at / 64] >> at % 64 & 1;
        bits |= static_cast<std::uint32_t>(is & (rows[r] >= 0)) << r;
    }
    return bits;
#endif
}

// Adds those of the rows with bits that, with `base` more, reach hits.least.
inline void take(const Sums& sums, const std::int32_t* rows, std::uint32_t bits, std::int32_t base,
                 IvfHits& hits) {
#if TAMIS_TIER == 2
    const __m512i sum = _mm512_add_epi32(_mm512_loadu_si512(sums.of), _mm512_set1_epi32(base));
    const __mmask16 kept = _mm512_mask_cmpge_epi32_mask(static_cast<__mmask16>(bits), sum,
                                                        _mm512_set1_epi32(hits.least));
    if (kept == 0) return;
    // row and key interleave to entries
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i last =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    const __m512i key = _mm512_maskz_compress_epi32(
        kept, _mm512_sub_epi32(_mm512_set1_epi32(0x7fffffff), sum));
    const __m512i row = _mm512_maskz_compress_epi32(kept, _mm512_loadu_si512(rows));
    std::uint64_t* to = hits.entries + hits.count;
    _mm512_storeu_si512(to, _mm512_permutex2var_epi32(row, first, key));
    _mm512_storeu_si512(to + 8, _mm512_permutex2var_epi32(row, last, key));
    const auto some = static_cast<std::size_t>(__builtin_popcount(kept));
    for (std::size_t i = 0; i < some; ++i)
        ++hits.classes[hits.class_of(static_cast<std::uint32_t>(to[i] >> 32))];
    hits.count += some;
#else
    for (; bits != 0; bits &= bits - 1) {
        const auto r = static_cast<std::size_t>(__builtin_ctz(bits));
        const std::int32_t sum = sums.of[r] + base;
        const std::uint32_t key = product_key(sum);
        hits.entries[hits.count] = std::uint64_t{key} << 32 | static_cast<std::uint32_t>(rows[r]);
        const bool kept = sum >= hits.least;  // written always, kept by the increment
        hits.classes[hits.class_of(key)] += kept;
        hits.count += kept;
    }
#endif
}

// The products of `count` blocks with each of `queries`, to `products` [queries][count * kBlockRows]:
// block by block, since reading them takes longer than multiplying.
void block_products(const ByteBlocks& table, std::size_t count, const IvfQuery* queries,
                    std::size_t query_count, std::int32_t* products) {
    for (std::size_t block = 0; block < count; ++block)
        for (std::size_t q = 0; q < query_count; ++q) {
            const Sums sums = products_of(table, block, queries[q]);
            std::memcpy(products + (q * count + block) * kBlockRows, sums.of, sizeof sums.of);
        }
}

// The class of each product, 0 for the largest to 255 for the least, none below that of a better one.
void classes_of(const std::int32_t* products, std::size_t count, std::uint8_t* classes) {
    std::int32_t most = products[0], least = products[0];
    for (std::size_t i = 0; i < count; ++i) {
        most = products[i] > most ? products[i] : most;
        least = products[i] < least ? products[i] : least;
    }
    const float high = static_cast<float>(most);
    const float scale = 256 / (high - static_cast<float>(least) + 1);
    for (std::size_t i = 0; i < count; ++i) {
        const auto number = static_cast<std::int32_t>((high - static_cast<float>(products[i])) * scale);
        classes[i] = static_cast<std::uint8_t>(number < 255 ? number : 255);
    }
}

// Adds the allowed rows of blocks `first` to `last` that, with the product `base` of their centroid,
// reach hits.least to the hits, which have room for all of them and one block more. `allowed` is a
// bit a row, or null: all are.
void scan_list(const NibbleBlocks& table, std::size_t first, std::size_t last,
               const std::uint64_t* allowed, const IvfQuery& query, std::int32_t base,
               IvfHits& hits) {
    for (std::size_t index = first; index < last; ++index) {
        const std::uint8_t* block = table.block(index);
        const auto* rows = reinterpret_cast<const std::int32_t*>(block);
        const std::uint32_t bits = allowed_of(rows, allowed);
        hits.seen += static_cast<std::size_t>(__builtin_popcount(bits));
        if (bits == 0) continue;
        take(residuals_of(block + sizeof(std::int32_t) * kBlockRows, table.groups, query.codes), rows,
             bits, base, hits);
    }
}

// Leaves out what does not reach hits.least.
void thin(IvfHits& hits) {
    const std::uint64_t last = std::uint64_t{product_key(hits.least)} << 32 | 0xffffffffu;
    std::size_t left = 0;
#if TAMIS_TIER == 2
    const __m512i limit = _mm512_set1_epi64(static_cast<long long>(last));
    for (std::size_t i = 0; i < hits.count; i += 8) {  // what lies behind the last is written, too
        const std::size_t some = hits.count - i;
        const __m512i entries = _mm512_loadu_si512(hits.entries + i);
        const __mmask8 kept = _mm512_mask_cmple_epu64_mask(
            static_cast<__mmask8>(some < 8 ? (1u << some) - 1 : 0xffu), entries, limit);
        _mm512_storeu_si512(hits.entries + left, _mm512_maskz_compress_epi64(kept, entries));
        left += static_cast<std::size_t>(__builtin_popcount(kept));
    }
#else
    for (std::size_t i = 0; i < hits.count; ++i) {
        const std::uint64_t entry = hits.entries[i];
        hits.entries[left] = entry;
        left += entry <= last;
    }
#endif
    hits.count = left;
}

// What a row differs by from a centroid, in steps of 1 / inverse, to levels [dims] of 0 to 15; what
// is no number counts as the least.
void encode_residual(const float* row, const float* centroid, std::size_t dims, float inverse,
                     std::uint8_t* levels) {
    constexpr float half = kResidualLevels / 2;
    for (std::size_t d = 0; d < dims; ++d) {
        float number;
        std::memcpy(&number, row + d, sizeof number);
        const float steps = (number - centroid[d]) * inverse;
        const float above = steps > -half ? steps : -half;
        // what lies between them is cut off: a level stands for what is in the middle of it
        levels[d] = static_cast<std::uint8_t>((above < half - 0.5f ? above : half - 0.5f) + half);
    }
}
