// Split-block Bloom filters of the Parquet format (BloomFilter.md): 8 words of 32 bits a block.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// `blocks` holds 8 * block_count words and may be unaligned; block_count > 0 unless count == 0.
void bloom_insert(std::uint32_t* blocks, std::size_t block_count, const std::uint64_t* keys,
                  std::size_t count);

struct BloomFilter {
    const std::uint32_t* blocks;  // as above
    std::size_t block_count;      // 1 or more
};

// Writes the positions of the keys that are in none of the filters, ascending; `positions` has room
// for `count`. Returns how many there are.
std::size_t bloom_absent(const BloomFilter* filters, std::size_t filter_count,
                         const std::uint64_t* keys, std::size_t count, std::int32_t* positions);

}  // namespace tamis
