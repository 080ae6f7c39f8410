// Each goes as far up as there are lower ones: many comparisons, but none for a branch to wait for.
// Where they are too many for that it returns false.
bool sort_few(const std::uint64_t* entries, std::uint64_t* sorted, std::size_t count) {
    if (count > 8 * kLanes) return false;
    for (std::size_t i = 0; i < count; ++i) {
        std::uint64_t lower = 0;
        for (std::size_t j = 0; j < count; ++j) lower += entries[j] < entries[i];
        sorted[lower] = entries[i];
    }
    return true;
}
