// Codes of 4 bits: what vectors differ by from something that is near to all of them.
#pragma once

#include <cstddef>

namespace tamis {

constexpr int kResidualLevels = 16;  // half of them below 0

// What one level is worth where numbers are like these: sixteen levels span the range that all but
// 0.3 % of them are in, as a quantizer of that many uniform steps does best for a normal
// distribution (Max, Quantizing for Minimum Distortion, IRE 1960). What is no number, and
// infinities, do not count; 0 where all are 0.
float residual_step(const float* numbers, std::size_t count);

}  // namespace tamis
