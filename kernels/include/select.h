// Which rows have their bit set: mask test and compaction in one pass.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// Writes the positions of the selected rows, ascending; `positions` has room for `count`.
// Returns how many there are. Selected are the rows whose bit is as `wanted`; a row below 0 or from
// 64 * words on has a bit that is not set.
std::size_t select(const std::uint64_t* bits, std::size_t words, const std::int32_t* rows,
                   std::size_t count, bool wanted, std::int32_t* positions);

}  // namespace tamis
