#include "bloom.h"

#include <cstring>

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

void bloom_test(const std::uint32_t* blocks, std::size_t block_count, const std::uint64_t* keys,
                std::size_t count, bool* found) {
    if (block_count == 0) {
        std::memset(found, 0, count);
        return;
    }
    variant(active_level(), scalar::bloom_test, avx2::bloom_test, avx512::bloom_test)(
        blocks, block_count, keys, count, found);
}

}  // namespace tamis
