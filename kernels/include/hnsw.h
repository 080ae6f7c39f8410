// Search in a hierarchical navigable small world graph (Malkov & Yashunin, TPAMI 2020).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "buffer.h"
#include "level.h"

namespace tamis {

constexpr std::uint32_t kNoLink = 0xffffffffu;

// The graph as a search sees it. Nodes are rows of `vectors`.
struct HnswView {
    std::size_t size, dims;
    const float* vectors;        // [size][dims], may be unaligned
    std::size_t stride;          // links of a row at level 0, a multiple of a cache line
    const std::uint32_t* links;  // [size][stride], filled up with kNoLink
    std::size_t upper_stride;
    const std::uint32_t* upper;     // [lists][upper_stride], filled up with kNoLink
    const std::uint32_t* upper_at;  // [size], a row's list at level 1; the next levels follow it
    std::uint32_t entry;
    int top_level;  // -1 without nodes
};

// What a search needs; `size` rows at most are ever in the beam.
struct HnswSearch {
    const float* query;            // [dims]
    const std::uint64_t* allowed;  // a bit a row, or null: all are
    std::size_t ef, widest;
};

struct HnswScratch {
    std::uint64_t* visited;  // [size / 64 + 1]
    std::uint64_t* beam;     // [widest + 1]
    std::uint32_t* rows;     // [kHnswRound * longest list]
};

constexpr std::size_t kHnswRound = 4;

class HnswGraph {
public:
    // Reads an inner-product index as hnswlib 0.8 saves it. `vectors`, [count][dims], must hold
    // the indexed vectors by label, and outlive the graph; the labels must be 0 to size - 1 in any
    // order. Throws std::system_error if the file cannot be read, std::invalid_argument with what
    // is wrong if it is no such index.
    HnswGraph(const std::string& path, const float* vectors, std::size_t count, std::size_t dims);

    std::size_t size() const { return view_.size; }
    std::size_t dims() const { return view_.dims; }
    std::size_t words() const { return (view_.size + 63) / 64; }

    // The best k allowed rows of each query, filled up with -1 and -inf. `allowed` has words()
    // words or is null. Thread safe.
    void search(const float* queries, std::size_t count, std::size_t k, std::size_t ef,
                std::size_t widest, const std::uint64_t* allowed, std::int32_t* rows,
                float* scores) const;

private:
    friend class HnswReader;

    HnswView view_{};
    Level level_;
    Buffer links_;
    std::vector<std::uint32_t> upper_, upper_at_;
    std::vector<std::uint64_t> live_;  // a bit a row not marked deleted; empty if none is
};

}  // namespace tamis
