// Scores as integers that sort best first.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

namespace tamis {

// Internal linkage: these are inlined into code of every instruction-set level.

// Ascends as the score descends; the largest of all for NaN. -0.0 and 0.0 are one.
static inline std::uint32_t score_key(float score) {
    score += 0.0f;  // -0.0 becomes 0.0
    std::uint32_t bits;
    std::memcpy(&bits, &score, sizeof bits);
    const std::uint32_t key = bits >> 31 ? bits : ~bits & 0x7fffffffu;
    return score != score ? 0xffffffffu : key;
}

static inline float key_score(std::uint32_t key) {
    if (key == 0xffffffffu) return std::numeric_limits<float>::quiet_NaN();
    const std::uint32_t bits = key >> 31 ? key : ~key & 0x7fffffffu;
    float score;
    std::memcpy(&score, &bits, sizeof score);
    return score;
}

}  // namespace tamis
