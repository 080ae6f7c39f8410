// Which rows have their bit set: mask test and compaction in one pass.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// Writes the positions of the selected rows, ascending; `positions` has room for `count`.
// Returns how many there are. A row below 0 or from 64 * words on is not selected.
std::size_t select(const std::uint64_t* bits, std::size_t words, const std::int32_t* rows,
                   std::size_t count, std::int32_t* positions);

}  // namespace tamis
