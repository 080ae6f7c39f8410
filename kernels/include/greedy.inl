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

inline Quad load_quad(const float* from) {
    Quad quad;
    std::memcpy(&quad, from, sizeof quad);
    return quad;
}

// Four candidates into four lanes: to[d][lane] = from[lane][d], four dimensions at a time.
inline void transpose_four(const float* const* from, std::size_t dims, float* to) {
    std::size_t d = 0;
    for (; d + 4 <= dims; d += 4) {
        const Quad a = load_quad(from[0] + d), b = load_quad(from[1] + d);
        const Quad c = load_quad(from[2] + d), e = load_quad(from[3] + d);
        const Quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        const Quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        const Quad ce = __builtin_shufflevector(c, e, 0, 4, 1, 5);
        const Quad ce_high = __builtin_shufflevector(c, e, 2, 6, 3, 7);
        const Quad out[4] = {__builtin_shufflevector(ab, ce, 0, 1, 4, 5),
                             __builtin_shufflevector(ab, ce, 2, 3, 6, 7),
                             __builtin_shufflevector(ab_high, ce_high, 0, 1, 4, 5),
                             __builtin_shufflevector(ab_high, ce_high, 2, 3, 6, 7)};
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) std::memcpy(to + (d + i) * kWidth, &out[i], sizeof out[i]);
    }
    for (; d < dims; ++d)
        for (std::size_t lane = 0; lane < 4; ++lane) to[d * kWidth + lane] = load_one(from[lane] + d);
}

inline void transpose(const SlateWork& work, const SlateCandidates& c) {
    constexpr std::size_t kAhead = 16;  // rows come from memory: fetched while others are laid out
    const auto row = [&](std::size_t i) {
        return c.vectors + static_cast<std::size_t>(c.rows[i]) * c.dims;
    };
    const auto fetch = [&](std::size_t i) {
        for (std::size_t d = 0; i < c.count && d < c.dims; d += 16) __builtin_prefetch(row(i) + d);
    };
    std::memset(work.pick, 0, c.dims * sizeof(float));  // what stands behind the last
    for (std::size_t i = 0; i < kAhead; ++i) fetch(i);
    for (std::size_t i = 0; i < work.padded; i += 4) {
        const float* from[4];
        for (std::size_t lane = 0; lane < 4; ++lane) {
            fetch(i + lane + kAhead);
            from[lane] = i + lane < c.count ? row(i + lane) : work.pick;
        }
        transpose_four(from, c.dims, work.packed + i / kWidth * kWidth * c.dims + i % kWidth);
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
