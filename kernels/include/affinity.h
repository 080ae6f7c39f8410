// Sums of item-to-item weights over the items of a history.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

// What each item speaks for; entries that name no row are passed over.
struct AffinityTable {
    const std::int32_t* rows;  // [size][width]
    const float* weights;      // [size][width]
    std::size_t size, width;
};

// For each of `asked` the sum, over the distinct rows of `history`, of their weights for it, in double
// and in the order of rows; 0 for what is no row, in either. Written to sums[i * stride]. One
// variant serves all levels: it is bound by look-ups in a hash table.
void affinities(const AffinityTable& table, const std::int32_t* history, std::size_t events,
                const std::int32_t* asked, std::size_t count, float* sums, std::size_t stride = 1);

// The rows whose sum is above 0 and that are not in the history, in no order; returns how many. The
// outputs have room for affine_room.
std::size_t affine_rows(const AffinityTable& table, const std::int32_t* history,
                        std::size_t events, std::int32_t* rows, float* sums);

inline std::size_t affine_room(const AffinityTable& table, std::size_t events) {
    const std::size_t met = events < table.size ? events : table.size;
    return met * table.width < table.size ? met * table.width : table.size;
}

}  // namespace tamis
