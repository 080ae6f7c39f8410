// work.extra: gain [padded], trade_off * relevance; nearest [padded], largest similarity to a pick.
void mmr(const SlateCandidates& c, const SlateWork& work, std::size_t k, float trade_off,
         float penalty, std::int32_t* positions) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    float *gain = work.extra, *nearest = gain + work.padded;
    transpose(work, c);
    for (std::size_t i = 0; i < work.padded; ++i) {
        work.objective[i] = i < c.count ? c.relevance[i] : nan;
        gain[i] = trade_off * work.objective[i];
        nearest[i] = -std::numeric_limits<float>::infinity();
        work.taken[i] = i >= c.count;
    }
    for (std::size_t picked = 0; picked < k; ++picked) {
        const std::size_t best = best_of(work.objective, work, c);
        positions[picked] = static_cast<std::int32_t>(best);
        gain[best] = nan;
        const float* pick = picked_vector(work, c, best);
        if (picked + 1 == k) break;
        products_with(pick, work, c.dims, [&](std::size_t at, Lanes similarity) {
            const Lanes most = larger(similarity, load(nearest + at));
            store(nearest + at, most);
            store(work.objective + at, load(gain + at) - penalty * most);
        });
    }
}
