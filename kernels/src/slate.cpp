#include "slate.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "buffer.h"
#include "level.h"

#define TAMIS_BODY "../src/slate.inl"
#include "each_tier.h"

namespace tamis {
namespace {

constexpr std::size_t kWidest = 8 * 16;  // candidates a block at the widest level

using Chooser = void(const SlateCandidates&, const SlateWork&, std::size_t, float, float,
                     std::int32_t*);

// extra: floats a candidate that the method needs beside, in memory of the thread's own.
void choose(Chooser* method, std::size_t extra, const SlateCandidates& candidates, std::size_t k,
            double trade_off, std::int32_t* positions) {
    if (k == 0) return;
    thread_local Buffer floats, flags;
    SlateWork work;
    work.padded = round_up(candidates.count, kWidest);
    work.objective =
        floats.reserve<float>(work.padded * (candidates.dims + 1 + extra) + candidates.dims);
    work.extra = work.objective + work.padded;
    work.packed = work.extra + work.padded * extra;
    work.pick = work.packed + work.padded * candidates.dims;
    work.taken = flags.reserve<bool>(work.padded);
    method(candidates, work, k, static_cast<float>(trade_off), static_cast<float>(1.0 - trade_off),
           positions);
}

}  // namespace

void mmr(const SlateCandidates& candidates, std::size_t k, double trade_off,
         std::int32_t* positions) {
    choose(variant(active_level(), scalar::mmr, avx2::mmr, avx512::mmr), 2, candidates,
           std::min(k, candidates.count), trade_off, positions);
}

void dpp(const SlateCandidates& candidates, std::size_t k, double trade_off,
         std::int32_t* positions) {
    k = std::min(k, candidates.count);
    choose(variant(active_level(), scalar::dpp, avx2::dpp, avx512::dpp), 2 + k, candidates, k,
           trade_off, positions);
}

}  // namespace tamis
