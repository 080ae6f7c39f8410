#include "query_tower.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tamis {
namespace {

struct Heard {
    const float* event;  // [width]
    std::size_t kind, recency;
};

struct QueryTowerWork {
    Heard* heard;      // [length]
    float* events;     // [length][width]
    float* attention;  // [heads][length]
    float* pooled;     // [heads][width]
    float* about;      // [width]
    float* hidden;     // [hidden]
};

}  // namespace
}  // namespace tamis

#define TAMIS_BODY "../src/query_tower.inl"
#include "each_tier.h"

namespace tamis {

QueryTower::QueryTower(const QueryTowerWeights& weights) : weights_(weights), level_(active_level()) {
    float* seeds = seeds_.reserve<float>(weights.width * weights.heads);
    for (std::size_t h = 0; h < weights.heads; ++h)
        for (std::size_t i = 0; i < weights.width; ++i)
            seeds[h * weights.width + i] = weights.seeds[i * weights.heads + h];
    weights_.seeds = seeds;  // [heads][width] from here on
}

void QueryTower::encode(const QueryTowerUser& user, float* query) const {
    const QueryTowerWeights& w = weights_;
    thread_local Buffer events, floats;
    QueryTowerWork work;
    work.heard = events.reserve<Heard>(w.length);
    work.attention = floats.reserve<float>((w.heads + w.width) * w.length + (w.heads + 1) * w.width + w.hidden);
    work.events = work.attention + w.heads * w.length;
    work.pooled = work.events + w.length * w.width;
    work.about = work.pooled + w.heads * w.width;
    work.hidden = work.about + w.width;
    variant(level_, scalar::encode_user, avx2::encode_user, avx512::encode_user)(w, user, work, query);
}

}  // namespace tamis
