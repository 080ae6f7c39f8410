// DeepFM (Guo et al., IJCAI 2017) factorised into a user part and an item table, with a head for
// each objective: logit = head's share of the wide part + the last layer times the head's weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "level.h"

namespace tamis {

enum class Cell { f32, f16 };       // of the item tables
enum class Arithmetic { f32, int8 };  // of the second and the third layer

// Row-major; the item tables may be unaligned.
struct DeepFMWeights {
    std::size_t items, hidden1, hidden2, hidden3, factors, crosses, heads;
    Cell cell;
    const void* item_hidden;    // [items][hidden1]
    const void* item_factors;   // [items][factors]
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

// The same in codes: a weight is its code times the step of its output, 127 codes to the largest.
// Inputs come in groups that one instruction multiplies and adds: [panels][groups][width][group].
struct CodedLayer {
    std::size_t inputs, padded_outputs;  // inputs: filled up to whole groups
    Buffer memory;
    const void* panels;
    const float* step;  // [padded_outputs]
    const float* bias;  // [padded_outputs]
};

struct DeepFMLayers {
    PackedLayer second, third;
    CodedLayer coded_second, coded_third;
};

class DeepFM {
public:
    // Keeps the pointers of `weights`: the arrays must outlive the model. The layers are packed
    // for the active level, which the model keeps.
    //
    // With Arithmetic::int8 their weights are codes of 8 bits, by output, and so is what goes into
    // them, by candidate: 255 codes from 0 to the largest. Sums of codes are exact.
    DeepFM(const DeepFMWeights& weights, Arithmetic arithmetic);

    const DeepFMWeights& weights() const { return weights_; }

    // Probabilities [count][heads] of `count` rows, all in range; `cross` is [count][crosses].
    // Thread safe.
    void score(const DeepFMUser& user, const std::int32_t* rows, const float* cross,
               std::size_t count, float* probabilities) const;

private:
    DeepFMWeights weights_;
    Arithmetic arithmetic_;
    Level level_;
    DeepFMLayers layers_;
};

}  // namespace tamis
