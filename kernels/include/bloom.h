// Split-block Bloom filter of the Parquet format (BloomFilter.md): 8 words of 32 bits a block.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// `blocks` holds 8 * block_count words and may be unaligned; block_count > 0 unless count == 0.
void bloom_insert(std::uint32_t* blocks, std::size_t block_count, const std::uint64_t* keys,
                  std::size_t count);
void bloom_test(const std::uint32_t* blocks, std::size_t block_count, const std::uint64_t* keys,
                std::size_t count, bool* found);

}  // namespace tamis
