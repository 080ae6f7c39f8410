#include "key_index.h"

#include <cstring>

namespace tamis {

KeyIndex::KeyIndex(const std::uint64_t* keys, std::size_t count) : keys_(keys) {
    while (std::size_t{1} << bits_ < 2 * count) ++bits_;
    const std::size_t slots = std::size_t{1} << bits_;
    slots_ = memory_.reserve<std::int32_t>(slots);
    std::memset(slots_, 0xff, slots * sizeof(std::int32_t));
    for (std::size_t i = 0; i < count; ++i) {
        std::int32_t& slot = slots_[at(keys[i])];
        if (slot >= 0) continue;
        slot = static_cast<std::int32_t>(i);
        ++distinct_;
    }
}

// The slot of a key, or the free one where it would be.
std::size_t KeyIndex::at(std::uint64_t key) const {
    const std::size_t last = (std::size_t{1} << bits_) - 1;
    std::size_t slot = home(key);
    while (slots_[slot] >= 0 && keys_[slots_[slot]] != key) slot = (slot + 1) & last;
    return slot;
}

void KeyIndex::find(const std::uint64_t* wanted, std::size_t count, std::int32_t* positions) const {
    constexpr std::size_t kAhead = 16;  // slots, then keys, come from memory: many under way at once
    for (std::size_t start = 0; start < count; start += kAhead) {
        const std::size_t end = start + kAhead < count ? start + kAhead : count;
        for (std::size_t i = start; i < end; ++i) __builtin_prefetch(slots_ + home(wanted[i]));
        for (std::size_t i = start; i < end; ++i) {
            const std::int32_t position = slots_[home(wanted[i])];
            if (position >= 0) __builtin_prefetch(keys_ + position);
        }
        for (std::size_t i = start; i < end; ++i) positions[i] = slots_[at(wanted[i])];
    }
}

}  // namespace tamis
