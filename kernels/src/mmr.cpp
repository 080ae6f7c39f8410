#include "mmr.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "buffer.h"
#include "level.h"

namespace tamis {
namespace {

constexpr std::size_t kWidest = 8 * 16;  // candidates a block at the widest level

struct MmrWork {
    std::size_t padded;  // candidates, filled up to whole blocks
    float* packed;       // [padded / width][dims][width]
    float* pick;         // [dims]
    float* gain;         // [padded], trade_off * relevance
    float* nearest;      // [padded], largest similarity to a pick
    float* objective;    // [padded]
    bool* taken;         // [padded]
};

}  // namespace
}  // namespace tamis

#define TAMIS_BODY "../src/mmr.inl"
#include "each_tier.h"

namespace tamis {

void mmr(const MmrCandidates& candidates, std::size_t k, double trade_off,
         std::int32_t* positions) {
    k = std::min(k, candidates.count);
    if (k == 0) return;
    thread_local Buffer floats, flags;
    MmrWork work;
    work.padded = round_up(candidates.count, kWidest);
    work.gain = floats.reserve<float>(work.padded * (candidates.dims + 3) + candidates.dims);
    work.nearest = work.gain + work.padded;
    work.objective = work.nearest + work.padded;
    work.packed = work.objective + work.padded;
    work.pick = work.packed + work.padded * candidates.dims;
    work.taken = flags.reserve<bool>(work.padded);
    variant(active_level(), scalar::mmr, avx2::mmr, avx512::mmr)(
        candidates, work, k, static_cast<float>(trade_off), static_cast<float>(1.0 - trade_off),
        positions);
}

}  // namespace tamis
