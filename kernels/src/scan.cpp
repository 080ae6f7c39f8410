#include "scan.h"

#include <algorithm>
#include <limits>
#include <new>

#include "buffer.h"
#include "dot_rows.h"
#include "score_key.h"

namespace tamis {
namespace {

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

// Calls use(rows, count) with up to kBlock allowed rows at a time, ascending.
template <class Use>
void allowed_blocks(const ScanTable& table, const Use& use) {
    std::int32_t rows[kBlock + 64];
    std::size_t count = 0;
    const std::size_t words = (table.size + 63) / 64;
    const std::size_t given = table.bits == nullptr ? words : std::min(words, table.words);
    for (std::size_t w = 0; w < given; ++w) {
        std::uint64_t word = table.bits == nullptr ? ~std::uint64_t{0} : table.bits[w];
        if (w + 1 == words && table.size % 64 != 0) word &= (std::uint64_t{1} << table.size % 64) - 1;
        for (; word != 0; word &= word - 1)
            rows[count++] = static_cast<std::int32_t>(w * 64) + __builtin_ctzll(word);
        if (count < kBlock) continue;
        use(rows, kBlock);
        count -= kBlock;
        std::copy(rows + kBlock, rows + kBlock + count, rows);
    }
    use(rows, count);
}

}  // namespace

void scan(const ScanTable& table, const float* queries, std::size_t query_count, std::size_t k,
          std::int32_t* rows, float* scores) {
    const std::size_t stride = k;
    std::fill(rows, rows + query_count * stride, -1);
    std::fill(scores, scores + query_count * stride, -std::numeric_limits<float>::infinity());
    k = std::min(k, table.size);
    if (k == 0 || query_count == 0) return;
    thread_local Buffer products_memory, entries_memory, best_memory;
    float* products = products_memory.reserve<float>(kBlock * query_count);
    std::uint64_t* entries = entries_memory.reserve<std::uint64_t>(Best::room(k) * query_count);
    Best* best = best_memory.reserve<Best>(query_count);
    for (std::size_t q = 0; q < query_count; ++q) new (best + q) Best(entries + q * Best::room(k), k);
    allowed_blocks(table, [&](const std::int32_t* block, std::size_t count) {
        dot_rows(table.vectors, table.dims, block, count, queries, query_count, products);
        for (std::size_t q = 0; q < query_count; ++q)
            best[q].add(block, products + q, query_count, count);
    });
    for (std::size_t q = 0; q < query_count; ++q) best[q].write(rows + q * stride, scores + q * stride);
}

}  // namespace tamis
