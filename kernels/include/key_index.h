// Where keys stand in an array.
#pragma once

#include <cstddef>
#include <cstdint>

#include "buffer.h"

namespace tamis {

// A hash table of positions: 8 to 16 bytes a key beside the keys, which are the caller's.
class KeyIndex {
public:
    // Of a key that is there twice the first counts. Keeps `keys`.
    KeyIndex(const std::uint64_t* keys, std::size_t count);

    // How many different keys there are.
    std::size_t distinct() const { return distinct_; }

    // The positions of `count` keys; -1 for one that is not there. Thread safe.
    void find(const std::uint64_t* wanted, std::size_t count, std::int32_t* positions) const;

private:
    std::size_t home(std::uint64_t key) const { return key * 0x9E3779B97F4A7C15u >> (64 - bits_); }
    std::size_t at(std::uint64_t key) const;

    const std::uint64_t* keys_;
    int bits_ = 4;
    std::size_t distinct_ = 0;
    Buffer memory_;
    std::int32_t* slots_;  // positions, at most half of them taken; -1: free
};

}  // namespace tamis
