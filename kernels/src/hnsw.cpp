#include "hnsw.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "codes.h"
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
    thread_local Buffer visited, beam, found_memory, row_memory, key_memory, codes, both;
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
    scratch.beam = beam.reserve<std::uint64_t>(search.widest + kHnswPad);
    const std::size_t most = std::max(kHnswRound * view_.stride, view_.upper_stride) + kHnswPad;
    scratch.found = found_memory.reserve<std::uint64_t>(most);
    scratch.rows = row_memory.reserve<std::uint32_t>(std::max(most, search.widest + kHnswPad));
    scratch.keys = key_memory.reserve<std::uint32_t>(most);
    scratch.query_codes = codes.reserve<std::int16_t>(code_width(view_.dims));
    const auto run =
        variant(level_, scalar::search_graph, avx2::search_graph, avx512::search_graph);
    for (std::size_t q = 0; q < count; ++q) {
        search.query = queries + q * view_.dims;
        const std::size_t found = run(view_, search, scratch);
        for (std::size_t i = 0; i < std::min(found, k); ++i) {
            rows[q * k + i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(scratch.beam[i]) >> 1);
            scores[q * k + i] = key_score(static_cast<std::uint32_t>(scratch.beam[i] >> 32));
        }
    }
}

}  // namespace tamis
