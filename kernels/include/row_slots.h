// A hash table of rows that lives for one call: open addressing, at most half full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "buffer.h"

namespace tamis {

class RowSlots {
public:
    RowSlots() = default;

    // For up to `most` rows, in memory of the caller's; none is there yet.
    RowSlots(Buffer& memory, std::size_t most) {
        while (std::size_t{1} << bits_ < 2 * most) ++bits_;
        rows_ = memory.reserve<std::int32_t>(count());
        std::memset(rows_, 0xff, count() * sizeof(std::int32_t));  // -1: free
    }

    std::size_t count() const { return std::size_t{1} << bits_; }

    // The slot of a row from 0 on, which it gets now if it has none.
    std::size_t add(std::int32_t row, bool& added) {
        const std::size_t slot = at(row);
        added = rows_[slot] < 0;
        rows_[slot] = row;
        return slot;
    }

    // The slot of a row from 0 on; count() if it has none.
    std::size_t find(std::int32_t row) const {
        const std::size_t slot = at(row);
        return rows_[slot] < 0 ? count() : slot;
    }

    // The row of a slot, below 0 where there is none.
    std::int32_t row(std::size_t slot) const { return rows_[slot]; }

private:
    std::size_t at(std::int32_t row) const {
        std::size_t slot = static_cast<std::uint64_t>(row) * 0x9E3779B97F4A7C15u >> (64 - bits_);
        while (rows_[slot] >= 0 && rows_[slot] != row) slot = (slot + 1) & (count() - 1);
        return slot;
    }

    int bits_ = 4;
    std::int32_t* rows_ = nullptr;
};

}  // namespace tamis
