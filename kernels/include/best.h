// What the exact searches share: the allowed rows, block by block, and the best of their scores.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "score_key.h"

namespace tamis {

constexpr std::size_t kBlock = 256;  // rows whose products stay in the first-level cache

// Keeps the best k of what it is given: collects up to a few k, then cuts.
class Best {
public:
    static std::size_t room(std::size_t k) { return 2 * k + kBlock; }

    Best(std::uint64_t* entries, std::size_t k) : entries_(entries), k_(k) {}

    // At most kBlock at a time.
    void add(const std::int32_t* rows, const float* scores, std::size_t stride,
             std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            const float score = scores[i * stride];
            if (score < worst_) continue;  // NaN is none the less, and taken
            entries_[size_++] = std::uint64_t{score_key(score)} << 32 |
                                static_cast<std::uint32_t>(rows[i]);
        }
        if (size_ + kBlock <= room(k_)) return;
        std::nth_element(entries_, entries_ + k_ - 1, entries_ + size_);
        size_ = k_;
        // a NaN here lets everything through
        worst_ = key_score(static_cast<std::uint32_t>(entries_[k_ - 1] >> 32));
    }

    void write(std::int32_t* rows, float* scores) {
        const std::size_t found = std::min(k_, size_);
        std::partial_sort(entries_, entries_ + found, entries_ + size_);
        for (std::size_t i = 0; i < found; ++i) {
            rows[i] = static_cast<std::int32_t>(entries_[i] & 0xffffffffu);
            scores[i] = key_score(static_cast<std::uint32_t>(entries_[i] >> 32));
        }
    }

private:
    std::uint64_t* entries_;
    std::size_t k_, size_ = 0;
    float worst_ = -std::numeric_limits<float>::infinity();
};

// A bit a row says whether it is allowed; without bits all are. Calls use(rows, count) with up to kBlock allowed rows at a time, ascending.
template <class Use>
void allowed_blocks(const std::uint64_t* bits, std::size_t bit_words, std::size_t size,
                    const Use& use) {
    std::int32_t rows[kBlock + 64];
    std::size_t count = 0;
    const std::size_t words = (size + 63) / 64;
    const std::size_t given = bits == nullptr ? words : std::min(words, bit_words);
    for (std::size_t w = 0; w < given; ++w) {
        std::uint64_t word = bits == nullptr ? ~std::uint64_t{0} : bits[w];
        if (w + 1 == words && size % 64 != 0) word &= (std::uint64_t{1} << size % 64) - 1;
        for (; word != 0; word &= word - 1)
            rows[count++] = static_cast<std::int32_t>(w * 64) + __builtin_ctzll(word);
        if (count < kBlock) continue;
        use(rows, kBlock);
        count -= kBlock;
        std::copy(rows + kBlock, rows + kBlock + count, rows);
    }
    use(rows, count);
}

}  // namespace tamis
