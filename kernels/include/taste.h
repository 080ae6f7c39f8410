// What a user took to, and how near candidates are to it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "affinity.h"

namespace tamis {

// Of each column of values [n][width] the most frequent number above 0 among `count` rows, all in
// range; the least of several, 0 where there is none.
void most_frequent(const std::int32_t* values, std::size_t width, const std::int32_t* rows,
                   std::size_t count, std::int32_t* modes);

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
