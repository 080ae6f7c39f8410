#include "dot_block.inl"

// A beam entry is score key, row and whether the row's links have been followed: sorted, the best
// come first and equal scores stand by row.
constexpr std::uint64_t kFollowed = 1;

inline std::uint64_t beam_entry(float score, std::uint32_t row) {
    return std::uint64_t{score_key(score)} << 32 | std::uint64_t{row} << 1;
}

inline std::uint32_t entry_row(std::uint64_t entry) {
    return static_cast<std::uint32_t>(entry) >> 1;
}

inline bool bit_at(const std::uint64_t* bits, std::uint32_t row) {
    return bits[row / 64] >> row % 64 & 1;
}

inline void prefetch(const void* start, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += 64)
        __builtin_prefetch(static_cast<const char*>(start) + at);
}

inline const float* vector_of(const HnswView& graph, std::uint32_t row) {
    return graph.vectors + static_cast<std::size_t>(row) * graph.dims;
}

// The best rows met so far: up to the ef-th allowed one, and at most `widest`. Rows that are not
// allowed lead the way and count for nothing else.
template <bool kFiltered>
class Beam {
public:
    Beam(const HnswSearch& search, std::uint64_t* entries) : search_(search), entries_(entries) {}

    std::size_t size() const { return size_; }
    std::uint64_t& operator[](std::size_t i) { return entries_[i]; }
    bool allows(std::uint32_t row) const { return !kFiltered || bit_at(search_.allowed, row); }
    bool takes(std::uint64_t entry) const { return !full() || entry < entries_[size_ - 1]; }

    // Returns the position of the new entry.
    std::size_t insert(std::uint64_t entry) {
        const std::uint64_t* low = entries_;
        for (std::size_t left = size_; left > 0;) {  // compiled without branches
            const std::size_t half = (left + 1) / 2;
            low += low[half - 1] < entry ? half : 0;
            left -= half;
        }
        const auto position = static_cast<std::size_t>(low - entries_);
        std::memmove(entries_ + position + 1, low, (size_ - position) * sizeof entry);
        entries_[position] = entry;
        ++size_;
        allowed_ += allows(entry_row(entry));
        if (size_ > search_.widest) drop();
        if (allowed_ > search_.ef) {
            while (allowed_ > search_.ef) drop();
            while (!allows(entry_row(entries_[size_ - 1]))) --size_;
        }
        return position;
    }

private:
    bool full() const { return size_ == search_.widest || allowed_ == search_.ef; }
    void drop() { allowed_ -= allows(entry_row(entries_[--size_])); }

    const HnswSearch& search_;
    std::uint64_t* entries_;
    std::size_t size_ = 0, allowed_ = 0;
};

// Calls use(row, score) for each row, in order.
template <class Use>
inline void score_rows(const HnswView& graph, const float* query, const std::uint32_t* rows,
                       std::size_t count, const Use& use) {
    constexpr std::size_t kRows = 4;  // hides the latency of one row's sum behind the others
    float score[kRows];
    std::size_t i = 0;
    for (; i + kRows <= count; i += kRows) {
        const float* row[kRows];
#pragma GCC unroll 8
        for (std::size_t r = 0; r < kRows; ++r) row[r] = vector_of(graph, rows[i + r]);
        dot_block<kRows>(row, query, graph.dims, score, 1);
        for (std::size_t r = 0; r < kRows; ++r) use(rows[i + r], score[r]);
    }
    for (; i < count; ++i) {
        const float* row = vector_of(graph, rows[i]);
        dot_block<1>(&row, query, graph.dims, score, 1);
        use(rows[i], score[0]);
    }
}

// From the entry point greedily down to level 1.
inline std::uint64_t descend(const HnswView& graph, const float* query, std::uint32_t* rows) {
    std::uint64_t best = ~std::uint64_t{0};
    const auto better = [&best](std::uint32_t row, float score) {
        const std::uint64_t entry = beam_entry(score, row);
        best = entry < best ? entry : best;
    };
    score_rows(graph, query, &graph.entry, 1, better);
    for (int level = graph.top_level; level > 0; --level) {
        std::uint64_t before;
        do {
            before = best;
            const std::size_t list =
                graph.upper_at[entry_row(best)] + static_cast<std::size_t>(level - 1);
            const std::uint32_t* link = graph.upper + list * graph.upper_stride;
            std::size_t count = 0;
            for (; count < graph.upper_stride && link[count] != kNoLink; ++count) {
                rows[count] = link[count];
                prefetch(vector_of(graph, rows[count]), graph.dims * sizeof(float));
            }
            score_rows(graph, query, rows, count, better);
        } while (best != before);
    }
    return best;
}

// Appends the links of `row` that have not been visited, and marks them; returns the new count.
inline std::size_t unvisited(const HnswView& graph, std::uint32_t row, std::uint64_t* visited,
                             std::uint32_t* rows, std::size_t count) {
    const std::uint32_t* link = graph.links + static_cast<std::size_t>(row) * graph.stride;
    const std::size_t first = count;
    for (std::size_t i = 0; i < graph.stride && link[i] != kNoLink; ++i) {
        std::uint64_t& word = visited[link[i] / 64];
        const std::uint64_t bit = std::uint64_t{1} << link[i] % 64;
        rows[count] = link[i];  // written always, kept by the increment
        count += (word & bit) == 0;
        word |= bit;
    }
    for (std::size_t i = first; i < count; ++i)
        prefetch(vector_of(graph, rows[i]), graph.dims * sizeof(float));
    return count;
}

// Best first, following the links of the best few rows of the beam at a time: their memory is
// fetched together. Returns the length of the beam, which is left in `scratch.beam`.
template <bool kFiltered>
inline std::size_t grow_beam(const HnswView& graph, const HnswSearch& search,
                             const HnswScratch& scratch) {
    Beam<kFiltered> beam(search, scratch.beam);
    const std::uint64_t start = descend(graph, search.query, scratch.rows);
    std::memset(scratch.visited, 0, (graph.size / 64 + 1) * sizeof(std::uint64_t));
    scratch.visited[entry_row(start) / 64] |= std::uint64_t{1} << entry_row(start) % 64;
    beam.insert(start);
    for (std::size_t next = 0;;) {  // all before `next` have been followed
        std::size_t count = 0, followed = 0;
        for (; next < beam.size() && followed < kHnswRound; ++next) {
            if (beam[next] & kFollowed) continue;
            beam[next] |= kFollowed;
            count = unvisited(graph, entry_row(beam[next]), scratch.visited, scratch.rows, count);
            ++followed;
        }
        if (followed == 0) return beam.size();
        score_rows(graph, search.query, scratch.rows, count, [&](std::uint32_t row, float score) {
            const std::uint64_t entry = beam_entry(score, row);
            if (!beam.takes(entry)) return;
            const std::size_t position = beam.insert(entry);
            next = position < next ? position : next;
            prefetch(graph.links + static_cast<std::size_t>(row) * graph.stride,
                     graph.stride * sizeof(std::uint32_t));
        });
    }
}

std::size_t search_graph(const HnswView& graph, const HnswSearch& search,
                         const HnswScratch& scratch) {
    return search.allowed == nullptr ? grow_beam<false>(graph, search, scratch)
                                     : grow_beam<true>(graph, search, scratch);
}
