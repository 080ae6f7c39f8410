typedef std::int32_t Whole __attribute__((vector_size(4 * kLanes)));

// Natural logarithm of positive normal numbers, to 3e-6: exponent and mantissa apart, the mantissa
// by the series of atanh((m - 1) / (m + 1)).
inline Lanes logarithm(Lanes x) {
    const Whole bits = (Whole)x - 0x3f3504f3;  // so that the mantissa is in sqrt(1/2) to sqrt(2)
    const Whole exponent = bits >> 23;
    const Lanes m = (Lanes)((bits & 0x007fffff) + 0x3f3504f3);
    const Lanes t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
    const Lanes series = 2.0f + t2 * (0.66666667f + t2 * (0.4f + t2 * (0.28571429f + t2 * 0.22222222f)));
    return __builtin_convertvector(exponent, Lanes) * 0.69314718f + t * series;
}

// work.extra: gain [padded], trade_off * relevance; left [padded], the variance that the picks leave
// of each candidate; shares [k][padded], rows of the Cholesky factor.
void dpp(const SlateCandidates& c, const SlateWork& work, std::size_t k, float trade_off,
         float weight, std::int32_t* positions) {
    // what the picks span already; among such relevance decides
    constexpr float kNothing = 1e-6f;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    float *gain = work.extra, *left = gain + work.padded, *shares = left + work.padded;
    transpose(work, c);
    for (std::size_t i = 0; i < work.padded; ++i) {
        float square = 0;
        for (std::size_t d = 0; d < c.dims; ++d) {
            const float x = work.packed[i / kWidth * kWidth * c.dims + d * kWidth + i % kWidth];
            square += x * x;
        }
        left[i] = square == square ? (1 + square) / 2 : 0.5f;
        gain[i] = trade_off * (i < c.count ? c.relevance[i] : nan);
        work.objective[i] = i < c.count ? c.relevance[i] : nan;
        work.taken[i] = i >= c.count;
    }
    for (std::size_t picked = 0; picked < k; ++picked) {
        const std::size_t best = best_of(work.objective, work, c);
        positions[picked] = static_cast<std::int32_t>(best);
        gain[best] = nan;
        const float* pick = picked_vector(work, c, best);
        if (picked + 1 == k) break;
        // of what is spanned already there is nothing more to take away
        const float scale = left[best] > kNothing ? 1 / __builtin_sqrtf(left[best]) : 0;
        float* own = shares + picked * work.padded;
        products_with(pick, work, c.dims, [&](std::size_t at, Lanes product) {
            Lanes share = (1.0f + product) * 0.5f;
            for (std::size_t before = 0; before < picked; ++before) {
                const float* row = shares + before * work.padded;
                share -= row[best] * load(row + at);
            }
            share *= scale;
            store(own + at, share);
            const Lanes rest = larger(load(left + at) - share * share, broadcast(kNothing));
            store(left + at, rest);
            store(work.objective + at, load(gain + at) + weight * logarithm(rest));
        });
    }
}
