#include "dot_block.inl"

#include "code_block.inl"

// A beam entry is key, row and whether the row's links have been followed: sorted, the best come
// first and equal keys stand by row. Keys of the walk descend with the product of codes.
constexpr std::uint64_t kFollowed = 1;
constexpr std::size_t kAhead = 8;  // rows whose memory is fetched while others are scored

inline std::uint64_t beam_entry(std::uint32_t key, std::uint32_t row) {
    return std::uint64_t{key} << 32 | std::uint64_t{row} << 1;
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

inline const std::uint8_t* codes_of(const HnswView& graph, std::uint32_t row) {
    return graph.codes + static_cast<std::size_t>(row) * code_width(graph.dims);
}

// Inserts into `count` sorted entries, which may be followed by one more register of memory; returns
// the position.
inline std::size_t insert_entry(std::uint64_t* entries, std::size_t count, std::uint64_t entry) {
#if TAMIS_TIER == 2
    const __m512i lanes = _mm512_set1_epi64(static_cast<long long>(entry));
    std::size_t at = count;
    for (; at >= 8; at -= 8) {  // moved up by one, a register at a time, until one stays
        const __m512i eight = _mm512_loadu_si512(entries + at - 8);
        const __mmask8 greater = _mm512_cmpgt_epu64_mask(eight, lanes);
        _mm512_mask_storeu_epi64(entries + at - 7, greater, eight);
        if (greater != 0xff) {
            at -= static_cast<std::size_t>(__builtin_popcount(greater));
            entries[at] = entry;
            return at;
        }
    }
    const auto some = static_cast<__mmask8>((1u << at) - 1);
    const __m512i rest = _mm512_maskz_loadu_epi64(some, entries);
    const __mmask8 greater = _mm512_mask_cmpgt_epu64_mask(some, rest, lanes);
    _mm512_mask_storeu_epi64(entries + 1, greater, rest);
    at -= static_cast<std::size_t>(__builtin_popcount(greater));
    entries[at] = entry;
    return at;
#else
    const std::uint64_t* low = entries;
    for (std::size_t left = count; left > 0;) {  // compiled without branches
        const std::size_t half = (left + 1) / 2;
        low += low[half - 1] < entry ? half : 0;
        left -= half;
    }
    const auto position = static_cast<std::size_t>(low - entries);
    std::memmove(entries + position + 1, low, (count - position) * sizeof entry);
    entries[position] = entry;
    return position;
#endif
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
    // No key above it is taken.
    std::uint32_t last_key() const {
        return full() ? static_cast<std::uint32_t>(entries_[size_ - 1] >> 32) : 0xffffffffu;
    }

    // Returns the position of the new entry.
    std::size_t insert(std::uint64_t entry) {
        if (!kFiltered) {
            if (size_ == search_.ef) --size_;
            return insert_entry(entries_, size_++, entry);
        }
        const std::size_t position = insert_entry(entries_, size_, entry);
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
    bool full() const {
        return kFiltered ? size_ == search_.widest || allowed_ == search_.ef
                         : size_ == search_.ef;
    }
    void drop() { allowed_ -= allows(entry_row(entries_[--size_])); }

    const HnswSearch& search_;
    std::uint64_t* entries_;
    std::size_t size_ = 0, allowed_ = 0;
};

// Keys of the rows; `rows` may be followed by three that are written to.
inline void code_keys(const HnswView& graph, const HnswScratch& scratch, std::size_t count) {
    const auto* query = reinterpret_cast<const QueryCode*>(scratch.query_codes);
    for (std::size_t i = count; i % 4 != 0; ++i) scratch.rows[i] = scratch.rows[0];
    for (std::size_t i = 0; i < count; i += 4) {
        const std::uint8_t* row[4];
        std::int32_t products[4];
#pragma GCC unroll 4
        for (std::size_t r = 0; r < 4; ++r) row[r] = codes_of(graph, scratch.rows[i + r]);
        code_dots(row, query, code_width(graph.dims), products);
#pragma GCC unroll 4
        for (std::size_t r = 0; r < 4; ++r)
            scratch.keys[i + r] = 0x7fffffffu - static_cast<std::uint32_t>(products[r]);
    }
}

// Entries of those of `count` keys that are at most `last`, in order; returns how many.
inline std::size_t entries_upto(const HnswScratch& scratch, std::size_t count, std::uint32_t last) {
    std::size_t found = 0;
#if TAMIS_TIER == 2
    const __m512i limit = _mm512_set1_epi32(static_cast<int>(last));
    const __m512i low =
        _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    for (std::size_t i = 0; i < count; i += 16) {
        const std::size_t left = count - i;
        const auto valid = static_cast<__mmask16>(left >= 16 ? 0xffffu : (1u << left) - 1);
        const __m512i key = _mm512_loadu_si512(scratch.keys + i);
        const __mmask16 kept = _mm512_mask_cmple_epu32_mask(valid, key, limit);
        if (kept == 0) continue;
        const __m512i row = _mm512_loadu_si512(scratch.rows + i);
        const __m512i keys = _mm512_maskz_compress_epi32(kept, key);
        const __m512i rows = _mm512_maskz_compress_epi32(kept, _mm512_add_epi32(row, row));
        _mm512_storeu_si512(scratch.found + found, _mm512_permutex2var_epi32(rows, low, keys));
        _mm512_storeu_si512(scratch.found + found + 8, _mm512_permutex2var_epi32(rows, high, keys));
        found += static_cast<std::size_t>(__builtin_popcount(kept));
    }
#else
    for (std::size_t i = 0; i < count; ++i) {
        scratch.found[found] = beam_entry(scratch.keys[i], scratch.rows[i]);
        found += scratch.keys[i] <= last;  // written always, kept by the increment
    }
#endif
    return found;
}

// From the entry point greedily down to level 1.
inline std::uint64_t descend(const HnswView& graph, const HnswScratch& scratch) {
    std::uint64_t best = ~std::uint64_t{0};
    const auto better = [&](std::size_t count) {
        code_keys(graph, scratch, count);
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t entry = beam_entry(scratch.keys[i], scratch.rows[i]);
            best = entry < best ? entry : best;
        }
    };
    scratch.rows[0] = graph.entry;
    better(1);
    for (int level = graph.top_level; level > 0; --level) {
        std::uint64_t before;
        do {
            before = best;
            const std::size_t list =
                graph.upper_at[entry_row(best)] + static_cast<std::size_t>(level - 1);
            const std::uint32_t* link = graph.upper + list * graph.upper_stride;
            std::size_t count = 0;
            for (; count < graph.upper_stride && link[count] != kNoLink; ++count) {
                scratch.rows[count] = link[count];
                prefetch(codes_of(graph, link[count]), code_width(graph.dims));
            }
            better(count);
        } while (best != before);
    }
    return best;
}

// Appends the links of `row` that have not been visited, and marks them; returns the new count.
inline std::size_t unvisited(const HnswView& graph, std::uint32_t row, std::uint64_t* visited,
                             std::uint32_t* rows, std::size_t count) {
    const std::uint32_t* link = graph.links + static_cast<std::size_t>(row) * graph.stride;
    const std::size_t first = count;
#if TAMIS_TIER == 2
    const __m512i none = _mm512_set1_epi32(-1), one = _mm512_set1_epi32(1);
    for (std::size_t i = 0; i < graph.stride; i += 16) {
        const __m512i to = _mm512_loadu_si512(link + i);
        const __mmask16 there = _mm512_cmpneq_epi32_mask(to, none);
        if (there == 0) break;
        const __m512i at = _mm512_maskz_srli_epi32(there, to, 5);
        const __m512i word =
            _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), there, at, visited, 4);
        const __m512i bit =
            _mm512_maskz_sllv_epi32(there, one, _mm512_and_si512(to, _mm512_set1_epi32(31)));
        const __mmask16 fresh = _mm512_mask_testn_epi32_mask(there, word, bit);
        _mm512_storeu_si512(rows + count, _mm512_maskz_compress_epi32(fresh, to));
        count += static_cast<std::size_t>(__builtin_popcount(fresh));
    }
    for (std::size_t i = first; i < count; ++i) {
        visited[rows[i] / 64] |= std::uint64_t{1} << rows[i] % 64;
        prefetch(codes_of(graph, rows[i]), code_width(graph.dims));
    }
#else
    for (std::size_t i = 0; i < graph.stride && link[i] != kNoLink; ++i) {
        std::uint64_t& word = visited[link[i] / 64];
        const std::uint64_t bit = std::uint64_t{1} << link[i] % 64;
        rows[count] = link[i];  // written always, kept by the increment
        count += (word & bit) == 0;
        word |= bit;
    }
    for (std::size_t i = first; i < count; ++i)
        prefetch(codes_of(graph, rows[i]), code_width(graph.dims));
#endif
    return count;
}

// Best first, following the links of the best few rows of the beam at a time: their memory is
// fetched together. Returns the length of the beam, which is left in `scratch.beam`.
template <bool kFiltered>
inline std::size_t grow_beam(const HnswView& graph, const HnswSearch& search,
                             const HnswScratch& scratch) {
    Beam<kFiltered> beam(search, scratch.beam);
    const std::uint64_t start = descend(graph, scratch);
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
        code_keys(graph, scratch, count);
        const std::size_t found = entries_upto(scratch, count, beam.last_key());
        for (std::size_t i = 0; i < found; ++i) {
            const std::uint64_t entry = scratch.found[i];
            if (!beam.takes(entry)) continue;
            const std::size_t position = beam.insert(entry);
            next = position < next ? position : next;
            prefetch(graph.links + static_cast<std::size_t>(entry_row(entry)) * graph.stride,
                     graph.stride * sizeof(std::uint32_t));
        }
    }
}

// The allowed rows of the beam by their exact scores, in its place; returns how many.
inline std::size_t rescore(const HnswView& graph, const HnswSearch& search, std::size_t length,
                           const HnswScratch& scratch) {
    constexpr std::size_t kRows = 4;  // hides the latency of one row's sum behind the others
    const std::size_t bytes = graph.dims * sizeof(float);
    std::uint32_t* rows = scratch.rows;
    std::size_t count = 0;
    for (std::size_t i = 0; i < length; ++i) {
        rows[count] = entry_row(scratch.beam[i]);
        count += search.allowed == nullptr || bit_at(search.allowed, rows[count]);
    }
    for (std::size_t i = 0; i < count && i < kAhead; ++i) prefetch(vector_of(graph, rows[i]), bytes);
    for (std::size_t i = 0; i < count; i += kRows) {
        const float* row[kRows];
        float score[kRows];
        const std::size_t block = count - i < kRows ? count - i : kRows;
        for (std::size_t r = 0; r < kRows; ++r) {
            row[r] = vector_of(graph, rows[i + (r < block ? r : 0)]);
            if (i + r + kAhead < count) prefetch(vector_of(graph, rows[i + r + kAhead]), bytes);
        }
        dot_block<kRows>(row, search.query, graph.dims, score, 1);
        // near their places by the codes: each is inserted near the end
        for (std::size_t r = 0; r < block; ++r)
            insert_entry(scratch.beam, i + r, beam_entry(score_key(score[r]), rows[i + r]));
    }
    return count;
}

std::size_t search_graph(const HnswView& graph, const HnswSearch& search,
                         const HnswScratch& scratch) {
    encode_query(search.query, graph.dims, code_width(graph.dims),
                 reinterpret_cast<QueryCode*>(scratch.query_codes));
    const std::size_t length = search.allowed == nullptr
                                   ? grow_beam<false>(graph, search, scratch)
                                   : grow_beam<true>(graph, search, scratch);
    return rescore(graph, search, length, scratch);
}
