// What one side of a DeepFM, the user or the items, adds to the model's sums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "level.h"

namespace tamis {

// Row-major.
struct DeepFMSideWeights {
    std::size_t fields, slots, factors, dense, hidden;
    const float* embedding;     // [slots][factors]
    const float* linear;        // [slots]
    const float* dense_linear;  // [dense]
    const float* w1;            // [fields * factors + dense][hidden]
    const float* b1;            // [hidden]
};

struct DeepFMParts {
    float* hidden;   // [count][hidden]
    float* factors;  // [count][factors]
    float* bias;     // [count]
};

// The parts of `count` users or items: slots [count][fields], all in range; dense [count][dense].
void deepfm_parts(const DeepFMSideWeights& weights, const std::int32_t* slots, const float* dense,
                  std::size_t count, const DeepFMParts& parts);

}  // namespace tamis
