// A query tower: attention over a history, pooled and sent through a small residual MLP.
#pragma once

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "half.h"
#include "level.h"

namespace tamis {

// Row-major. Only history_table may be unaligned; it is in halves, as large as the catalogue.
struct QueryTowerWeights {
    std::size_t items, width, heads, length, kinds, slots, hidden, dims;
    const Half* history_table;   // [items][width]
    const float* seeds;          // [width][heads]
    const float* kind_bias;      // [kinds][heads]
    const float* recency_bias;   // [length][heads], the latest event first
    const float* kind_weight;    // [kinds]
    const bool* heard;           // [kinds]
    const float* context_table;  // [slots][width]
    const float* w_context;      // [width][hidden]
    const float* skip;           // [heads * width][dims]
    const float* w1;             // [heads * width][hidden]
    const float* b1;             // [hidden]
    const float* w2;             // [hidden][dims]
    const float* b2;             // [dims]
};

struct QueryTowerUser {
    const std::int32_t* rows;  // [events], oldest first; below 0: no item, and not heard
    const std::uint8_t* kinds;  // [events]
    std::size_t events;
    const std::int32_t* context;  // [contexts], all of them slots
    std::size_t contexts;
};

class QueryTower {
public:
    // Keeps the pointers of `weights`, but for the seeds: the arrays must outlive the tower. It keeps
    // the level that is active now.
    explicit QueryTower(const QueryTowerWeights& weights);

    const QueryTowerWeights& weights() const { return weights_; }

    // Writes query [dims] of length 1, or zeros where the history says nothing. Rows below `items`,
    // kinds below `kinds`. Thread safe.
    void encode(const QueryTowerUser& user, float* query) const;

private:
    QueryTowerWeights weights_;
    Level level_;
    Buffer seeds_;
};

}  // namespace tamis
