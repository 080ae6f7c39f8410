// XXH64 with seed 0 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

std::uint64_t xxh64(const std::uint8_t* data, std::size_t length);

}  // namespace tamis
