// The k-th lowest of the keys, found by its bits from the highest; or more, with no key in between.
inline std::uint32_t kth_lowest(const std::uint32_t* keys, std::size_t count, std::size_t k) {
    std::uint32_t found = 0;
    for (std::uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
        const std::uint32_t tried = found | bit;
        std::uint32_t below = 0;
        for (std::size_t i = 0; i < count; ++i) below += keys[i] < tried;
        if (below == k) return tried - 1;
        if (below < k) found = tried;
    }
    return found;
}

// Of every so many scores only the best counts: k of these bests are as good as the k-th of them, so
// that no score below it is among the k best of all.
std::size_t contenders(const float* scores, std::size_t count, std::size_t k, std::uint32_t* keys,
                       std::uint32_t* bests, std::uint64_t* entries) {
    for (std::size_t i = 0; i < count; ++i) keys[i] = score_key(scores[i]);
    const std::size_t groups = kGroups * k < count ? kGroups * k : count;
    std::memcpy(bests, keys, groups * sizeof *keys);
    for (std::size_t start = groups; start < count; start += groups) {
        const std::size_t next = count - start < groups ? count - start : groups;
        for (std::size_t g = 0; g < next; ++g)
            bests[g] = keys[start + g] < bests[g] ? keys[start + g] : bests[g];
    }
    const std::uint32_t bound = kth_lowest(bests, groups, k);
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
        // written always, kept by the increment: which are among them cannot be predicted
        entries[found] = std::uint64_t{keys[i]} << 32 | i;
        found += keys[i] <= bound;
    }
    return found;
}
