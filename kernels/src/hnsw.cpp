#include "hnsw.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "score_key.h"

#define TAMIS_BODY "../src/hnsw.inl"
#include "each_tier.h"

namespace tamis {

void HnswGraph::search(const float* queries, std::size_t count, std::size_t k, std::size_t ef,
                       std::size_t widest, const std::uint64_t* allowed, std::int32_t* rows,
                       float* scores) const {
    std::fill(rows, rows + count * k, -1);
    std::fill(scores, scores + count * k, -std::numeric_limits<float>::infinity());
    if (view_.size == 0 || k == 0) return;
    thread_local Buffer visited, beam, expanded, both;
    if (allowed != nullptr && !live_.empty()) {
        std::uint64_t* masked = both.reserve<std::uint64_t>(words());
        for (std::size_t w = 0; w < words(); ++w) masked[w] = allowed[w] & live_[w];
        allowed = masked;
    } else if (!live_.empty()) {
        allowed = live_.data();
    }
    HnswSearch search{};
    search.allowed = allowed;
    search.ef = std::min(std::max(ef, k), view_.size);
    search.widest = std::min(std::max(widest, search.ef), view_.size);
    HnswScratch scratch{};
    scratch.visited = visited.reserve<std::uint64_t>(view_.size / 64 + 1);
    scratch.beam = beam.reserve<std::uint64_t>(search.widest + 1);
    scratch.rows = expanded.reserve<std::uint32_t>(
        std::max(kHnswRound * view_.stride, view_.upper_stride) + 1);
    const auto run =
        variant(level_, scalar::search_graph, avx2::search_graph, avx512::search_graph);
    for (std::size_t q = 0; q < count; ++q) {
        search.query = queries + q * view_.dims;
        const std::size_t found = run(view_, search, scratch);
        std::size_t kept = q * k;
        for (std::size_t i = 0; i < found && kept < (q + 1) * k; ++i) {
            const auto row = static_cast<std::uint32_t>(scratch.beam[i]) >> 1;
            if (allowed != nullptr && !(allowed[row / 64] >> row % 64 & 1)) continue;
            rows[kept] = static_cast<std::int32_t>(row);
            scores[kept++] = key_score(static_cast<std::uint32_t>(scratch.beam[i] >> 32));
        }
    }
}

}  // namespace tamis
