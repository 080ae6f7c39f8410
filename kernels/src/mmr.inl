#include "lanes.inl"

// Candidates stand beside each other in the lanes, transposed once: no sums across a register.
constexpr std::size_t kStreams = 8;
constexpr std::size_t kWidth = kStreams * kLanes;

// The largest of `value`, NaN below everything; ties by row, then position. Entries that are
// taken already hold NaN.
inline std::size_t best_of(const float* value, const MmrWork& work, const MmrCandidates& c) {
    Lanes high = broadcast(-std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < work.padded; i += kLanes) high = larger(load(value + i), high);
    float top = high[0];
    for (int lane = 1; lane < kLanes; ++lane) top = high[lane] > top ? high[lane] : top;
    std::size_t best = c.count;
    for (std::size_t i = 0; i < c.count; ++i)
        if (value[i] == top && (best == c.count || c.rows[i] < c.rows[best])) best = i;
    if (best < c.count) return best;
    for (std::size_t i = 0; i < c.count; ++i)
        if (!work.taken[i] && (best == c.count || c.rows[i] < c.rows[best])) best = i;
    return best;
}

inline void transpose(const MmrWork& work, const MmrCandidates& c) {
    for (std::size_t i = 0; i < work.padded; ++i) {
        float* to = work.packed + i / kWidth * kWidth * c.dims + i % kWidth;
        if (i >= c.count) {
            for (std::size_t d = 0; d < c.dims; ++d) to[d * kWidth] = 0;
            continue;
        }
        const float* from = c.vectors + static_cast<std::size_t>(c.rows[i]) * c.dims;
        for (std::size_t d = 0; d < c.dims; ++d) to[d * kWidth] = load_one(from + d);
    }
}

// Lowers every objective by the similarity to the pick, where that is the nearest so far.
inline void compare_with(const float* pick, const MmrWork& work, std::size_t dims, float penalty) {
    for (std::size_t block = 0; block < work.padded; block += kWidth) {
        const float* packed = work.packed + block * dims;
        Lanes dot[kStreams] = {};
        for (std::size_t d = 0; d < dims; ++d) {
            const Lanes x = broadcast(pick[d]);
#pragma GCC unroll 8
            for (std::size_t s = 0; s < kStreams; ++s)
                dot[s] += x * load(packed + d * kWidth + s * kLanes);
        }
#pragma GCC unroll 8
        for (std::size_t s = 0; s < kStreams; ++s) {
            const std::size_t at = block + s * kLanes;
            const Lanes similarity = dot[s] == dot[s] ? dot[s] : Lanes{};  // NaN counts as 0
            const Lanes nearest = larger(similarity, load(work.nearest + at));
            store(work.nearest + at, nearest);
            store(work.objective + at, load(work.gain + at) - penalty * nearest);
        }
    }
}

void mmr(const MmrCandidates& c, const MmrWork& work, std::size_t k, float trade_off, float penalty,
         std::int32_t* positions) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    transpose(work, c);
    for (std::size_t i = 0; i < work.padded; ++i) {
        work.objective[i] = i < c.count ? c.relevance[i] : nan;
        work.gain[i] = trade_off * work.objective[i];
        work.nearest[i] = -std::numeric_limits<float>::infinity();
        work.taken[i] = i >= c.count;
    }
    for (std::size_t picked = 0; picked < k; ++picked) {
        const std::size_t best = best_of(work.objective, work, c);
        positions[picked] = static_cast<std::int32_t>(best);
        work.taken[best] = true;
        work.gain[best] = nan;
        if (picked + 1 == k) break;
        std::memcpy(work.pick, c.vectors + static_cast<std::size_t>(c.rows[best]) * c.dims,
                    c.dims * sizeof(float));
        compare_with(work.pick, work, c.dims, penalty);
    }
}
