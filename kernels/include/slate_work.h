// The memory of a slate's choice, a thread's own.
#pragma once

#include "buffer.h"
#include "slate.h"

namespace tamis {

constexpr std::size_t kWidestSlate = 8 * 16;  // candidates a block at the widest level

// extra: floats a candidate that the method needs.
inline SlateWork slate_work(const SlateCandidates& candidates, std::size_t extra) {
    thread_local Buffer floats, flags;
    SlateWork work;
    work.padded = round_up(candidates.count, kWidestSlate);
    work.objective =
        floats.reserve<float>(work.padded * (candidates.dims + 1 + extra) + candidates.dims);
    work.extra = work.objective + work.padded;
    work.packed = work.extra + work.padded * extra;
    work.pick = work.packed + work.padded * candidates.dims;
    work.taken = flags.reserve<bool>(work.padded);
    return work;
}

}  // namespace tamis
