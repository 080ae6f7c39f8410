// A bit in each word of a block.
#if TAMIS_TIER > 0
using Mask = __m256i;

inline Mask mask_of(std::uint64_t key) {
    const __m256i salt = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kBloomSalt));
    const __m256i low = _mm256_set1_epi32(static_cast<int>(static_cast<std::uint32_t>(key)));
    const __m256i bit = _mm256_srli_epi32(_mm256_mullo_epi32(low, salt), 27);
    return _mm256_sllv_epi32(_mm256_set1_epi32(1), bit);
}

inline __m256i load_block(const std::uint32_t* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}

inline void set_bits(std::uint32_t* at, Mask mask) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), _mm256_or_si256(load_block(at), mask));
}

inline bool all_set(const std::uint32_t* at, Mask mask) {
    return _mm256_testc_si256(load_block(at), mask);
}
#else
struct Mask {
    std::uint32_t word[8];
};

inline Mask mask_of(std::uint64_t key) {
    Mask mask;
    for (int i = 0; i < 8; ++i)
        mask.word[i] = 1u << (static_cast<std::uint32_t>(key) * kBloomSalt[i] >> 27);
    return mask;
}

inline void set_bits(std::uint32_t* at, const Mask& mask) {
    Mask block;
    std::memcpy(&block, at, sizeof block);
    for (int i = 0; i < 8; ++i) block.word[i] |= mask.word[i];
    std::memcpy(at, &block, sizeof block);
}

inline bool all_set(const std::uint32_t* at, const Mask& mask) {
    Mask missing;
    std::memcpy(&missing, at, sizeof missing);
    for (int i = 0; i < 8; ++i) missing.word[i] = mask.word[i] & ~missing.word[i];
    std::uint64_t pairs[4];
    std::memcpy(pairs, &missing, sizeof pairs);
    return (pairs[0] | pairs[1] | pairs[2] | pairs[3]) == 0;
}
#endif

inline std::size_t block_of(std::uint64_t key, std::size_t block_count) {
    return (key >> 32) * block_count >> 32;
}

void bloom_insert(std::uint32_t* blocks, std::size_t block_count, const std::uint64_t* keys,
                  std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        set_bits(blocks + 8 * block_of(keys[i], block_count), mask_of(keys[i]));
}

// Several keys at a time: their blocks come of one multiplication, and their tests overlap. The
// compiler would not inline it by itself, which costs a call for each of these few.
template <int kKeys>
__attribute__((always_inline)) inline std::size_t absent_of(
    const BloomFilter* filters, std::size_t filter_count, const std::uint64_t* keys,
    std::size_t position, std::int32_t* positions) {
    typedef std::uint64_t Words __attribute__((vector_size(8 * kKeys)));
    Words high;
    std::memcpy(&high, keys, sizeof high);
    high >>= 32;
    Mask masks[kKeys];
    bool found[kKeys];
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) masks[i] = mask_of(keys[i]), found[i] = false;
    for (std::size_t f = 0; f < filter_count; ++f) {
        const Words starts = (high * filters[f].block_count >> 32) * 8;
        std::uint64_t start[kKeys];
        std::memcpy(start, &starts, sizeof start);
#pragma GCC unroll 8
        for (int i = 0; i < kKeys; ++i) found[i] |= all_set(filters[f].blocks + start[i], masks[i]);
    }
    std::size_t absent = 0;
#pragma GCC unroll 8
    for (int i = 0; i < kKeys; ++i) {
        // written always, kept by the increment: whether a key is found cannot be predicted
        positions[absent] = static_cast<std::int32_t>(position + i);
        absent += !found[i];
    }
    return absent;
}

std::size_t bloom_absent(const BloomFilter* filters, std::size_t filter_count,
                         const std::uint64_t* keys, std::size_t count, std::int32_t* positions) {
    constexpr std::size_t kTogether = 8;
    std::size_t absent = 0, i = 0;
    for (; i + kTogether <= count; i += kTogether)
        absent += absent_of<kTogether>(filters, filter_count, keys + i, i, positions + absent);
    for (; i < count; ++i)
        absent += absent_of<1>(filters, filter_count, keys + i, i, positions + absent);
    return absent;
}
