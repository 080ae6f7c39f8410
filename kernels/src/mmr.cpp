#include <algorithm>
#include <cstring>
#include <limits>

#include "level.h"
#include "slate.h"
#include "slate_work.h"

#define TAMIS_BODY "../src/mmr.inl"
#include "each_tier.h"

namespace tamis {

void mmr(const SlateCandidates& candidates, std::size_t k, double trade_off,
         std::int32_t* positions) {
    k = std::min(k, candidates.count);
    if (k == 0) return;
    variant(active_level(), scalar::mmr, avx2::mmr, avx512::mmr)(
        candidates, slate_work(candidates, 2), k, static_cast<float>(trade_off),
        static_cast<float>(1.0 - trade_off), positions);
}

}  // namespace tamis
