// What the greedy choosers of a slate share; for bodies of each_tier.h.
#include "lanes.inl"

// Candidates stand beside each other in the lanes, transposed once: no sums across a register.
constexpr std::size_t kStreams = 8;
constexpr std::size_t kWidth = kStreams * kLanes;

// The largest of `value`, NaN below everything; ties by row, then position. Entries that are
// taken already hold NaN.
inline std::size_t best_of(const float* value, const SlateWork& work, const SlateCandidates& c) {
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

inline void transpose(const SlateWork& work, const SlateCandidates& c) {
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

// The products of all candidates with one vector, kStreams registers at a time: use(at, products).
template <class Use>
inline void products_with(const float* pick, const SlateWork& work, std::size_t dims,
                          const Use& use) {
    for (std::size_t block = 0; block < work.padded; block += kWidth) {
        const float* packed = work.packed + block * dims;
        Lanes dot[kStreams] = {};
        for (std::size_t d = 0; d < dims; ++d) {
            const Lanes x = broadcast(pick[d]);
#pragma GCC unroll 8
            for (std::size_t s = 0; s < kStreams; ++s)
                dot[s] += x * load(packed + d * kWidth + s * kLanes);
        }
        // NaN counts as 0
#pragma GCC unroll 8
        for (std::size_t s = 0; s < kStreams; ++s)
            use(block + s * kLanes, dot[s] == dot[s] ? dot[s] : Lanes{});
    }
}

// Marks the candidate as picked; its objective is NaN from now on.
inline const float* picked_vector(const SlateWork& work, const SlateCandidates& c,
                                  std::size_t best) {
    work.taken[best] = true;
    std::memcpy(work.pick, c.vectors + static_cast<std::size_t>(c.rows[best]) * c.dims,
                c.dims * sizeof(float));
    return work.pick;
}
