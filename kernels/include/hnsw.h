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
    const std::uint8_t* codes;   // [size][code_width(dims)], of the vectors
    std::size_t stride;          // links of a row at level 0, a multiple of a cache line
    const std::uint32_t* links;  // [size][stride], filled up with kNoLink
    std::size_t upper_stride;
    const std::uint32_t* upper;     // [lists][upper_stride], filled up with kNoLink
    const std::uint32_t* upper_at;  // [size], a row's list at level 1; the next levels follow it
    std::uint32_t entry;
    int top_level;  // -1 without nodes
};

// What a search needs; `widest` rows at most are ever in the beam.
struct HnswSearch {
    const float* query;            // [dims]
    const std::uint64_t* allowed;  // a bit a row, or null: all are
    std::size_t ef, widest;
};

struct HnswScratch {
    std::uint64_t* visited;     // [size / 64 + 1]
    std::uint64_t* beam;        // [widest + kHnswPad]
    std::uint64_t* found;       // [most rows met in a round + kHnswPad]
    std::uint32_t* rows;        // [the same], and those of the beam in the end
    std::uint32_t* keys;        // [the same]
    std::int16_t* query_codes;  // [code_width(dims)], of 8 bits where the level takes them
};

constexpr std::size_t kHnswPad = 16;  // registers are loaded and stored whole
constexpr std::size_t kHnswRound = 4;

// The graph is walked by the codes of query and vectors; what it finds is scored exactly.
class HnswGraph {
public:
    // Reads an inner-product index as hnswlib 0.8 saves it, or what `save` wrote. `vectors`,
    // [count][dims], must hold the indexed vectors by label, and outlive the graph; hnswlib's labels
    // must be 0 to size - 1 in any order. Throws std::system_error if the file cannot be read,
    // std::invalid_argument with what is wrong if it is no such index.
    HnswGraph(const std::string& path, const float* vectors, std::size_t count, std::size_t dims);

    // Throws std::system_error.
    void save(const std::string& path) const;

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

    void read_graph_file(const std::string& path, std::size_t count, std::size_t dims);
    void check_links() const;

    HnswView view_{};
    Level level_;
    Buffer links_, codes_;
    std::vector<std::uint32_t> upper_, upper_at_;
    std::vector<std::uint8_t> levels_;  // of each row, above level 0
    std::vector<std::uint64_t> live_;  // a bit a row not marked deleted; empty if none is
};

// Whether the file starts as what HnswGraph::save writes. Throws std::system_error.
bool is_graph_file(const std::string& path);

}  // namespace tamis
