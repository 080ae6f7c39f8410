// DeepFM (Guo et al., IJCAI 2017) factorised into a user part and an item table, with a head for
// each objective: logit = head's share of the wide part + the last layer times the head's weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "level.h"

namespace tamis {

// Row-major; the item tables may be unaligned.
struct DeepFMWeights {
    std::size_t items, hidden1, hidden2, hidden3, factors, crosses, heads;
    const float* item_hidden;   // [items][hidden1]
    const float* item_factors;  // [items][factors]
    const float* item_bias;     // [items]
    const float* cross_hidden;  // [crosses][hidden1]
    const float* cross_linear;  // [crosses]
    const float* w2;            // [hidden1][hidden2]
    const float* b2;            // [hidden2]
    const float* w3;            // [hidden2][hidden3]
    const float* b3;            // [hidden3]
    const float* w_out;         // [heads][hidden3]
    const float* wide;          // [heads], each head's share of the wide part
    const float* bias;          // [heads]
};

struct DeepFMUser {
    const float* hidden;   // [hidden1]
    const float* factors;  // [factors]
    float bias;
};

// A layer's weights cut into panels of a few registers' width, [panels][inputs][width], and
// filled up with zeros.
struct PackedLayer {
    std::size_t inputs, padded_outputs;
    Buffer memory;
    const float* panels;
    const float* bias;  // [padded_outputs]
};

class DeepFM {
public:
    // Keeps the pointers of `weights`: the arrays must outlive the model. The layers are packed
    // for the active level, which the model keeps.
    explicit DeepFM(const DeepFMWeights& weights);

    const DeepFMWeights& weights() const { return weights_; }

    // Probabilities [count][heads] of `count` rows, all in range; `cross` is [count][crosses].
    // Thread safe.
    void score(const DeepFMUser& user, const std::int32_t* rows, const float* cross,
               std::size_t count, float* probabilities) const;

private:
    DeepFMWeights weights_;
    Level level_;
    PackedLayer layer2_, layer3_;
};

}  // namespace tamis
