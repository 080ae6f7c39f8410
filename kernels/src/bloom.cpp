#include "bloom.h"

#include "level.h"

namespace tamis {
namespace {
constexpr std::uint32_t kBloomSalt[8] = {0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
                                         0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31};
}  // namespace
}  // namespace tamis

#define TAMIS_BODY "../src/bloom.inl"
#include "each_tier.h"

namespace tamis {

void bloom_insert(std::uint32_t* blocks, std::size_t block_count, const std::uint64_t* keys,
                  std::size_t count) {
    variant(active_level(), scalar::bloom_insert, avx2::bloom_insert, avx512::bloom_insert)(
        blocks, block_count, keys, count);
}

std::size_t bloom_absent(const BloomFilter* filters, std::size_t filter_count,
                         const std::uint64_t* keys, std::size_t count, std::int32_t* positions) {
    return variant(active_level(), scalar::bloom_absent, avx2::bloom_absent, avx512::bloom_absent)(
        filters, filter_count, keys, count, positions);
}

}  // namespace tamis
