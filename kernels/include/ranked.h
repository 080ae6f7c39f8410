// Positions in the order of their scores.
#pragma once

#include <cstddef>
#include <cstdint>

#include "score_key.h"

namespace tamis {

// Ascends as the score descends (NaN last), then by position; `ranked_position` takes it apart.
inline std::uint64_t ranked(float score, std::size_t position) {
    return std::uint64_t{score_key(score)} << 32 | static_cast<std::uint32_t>(position);
}

inline std::size_t ranked_position(std::uint64_t entry) { return entry & 0xffffffffu; }

// Orders what `ranked` made, given by ascending position: best score first, then lower row, then lower
// position; `rows` by position. Both arrays have room for `count` and lose what they held; returns
// the one that is in order.
std::uint64_t* sort_ranked(std::uint64_t* entries, std::uint64_t* spare, std::size_t count,
                           const std::int32_t* rows);

}  // namespace tamis
