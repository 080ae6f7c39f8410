// What a user took to, and how near candidates are to it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "affinity.h"

namespace tamis {

constexpr std::size_t kUserDense = 4;

struct UserEvents {
    const std::int32_t* rows;  // [count], oldest first, all in range
    const double* times;       // seconds
    const bool* positive;
    std::size_t count;
};

// Of the items of the last `recent` positive events: of each column of fields [n][width] the most
// frequent number above 0 (the least of several, 0 where there is none), then the last one's numbers,
// to `values` [2][width]. To dense [kUserDense]: log1p of the events and of the days from the last
// one to `now`, each over 5; the mean popularity of the items; the share of positive events.
void user_features(const UserEvents& events, double now, std::size_t recent,
                   const std::int32_t* fields, std::size_t width, const float* popularity,
                   std::int32_t* values, float* dense);

constexpr std::size_t kCrosses = 4;

struct CrossFeatures {
    const float* vectors;  // [n][dims], may be unaligned
    std::size_t dims;
    const float* query;         // [dims], or null
    const std::int32_t* taken;  // [events], oldest first, all in range
    std::size_t events, recent;
    AffinityTable neighbours;
    const std::int32_t* learnt_as;  // [n or more], of each row that of `neighbours`; or null: the same
};

// Of each of `count` rows, all in range: its products with the query, with the last that was taken and
// with the mean of the last `recent` ones; and what all that were taken weigh for it. 0 for what is
// not there. Writes cross [count][kCrosses].
void cross_features(const CrossFeatures& about, const std::int32_t* rows, std::size_t count,
                    float* cross);

}  // namespace tamis
