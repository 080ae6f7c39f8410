// Inner products of several rows with one query; for bodies of each_tier.h.

#include "lanes.inl"

// Each row is summed in the same order whatever stands beside it: equal rows tie exactly.
template <int Rows>
inline void dot_block(const float* const* row, const float* query, std::size_t dims,
                      float* products, std::size_t stride) {
    Lanes sum[Rows] = {};
    std::size_t d = 0;
    for (; d + kLanes <= dims; d += kLanes) {
        const Lanes q = load(query + d);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) sum[r] += q * load(row[r] + d);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
        float product = total(sum[r]);
        for (std::size_t i = d; i < dims; ++i) product += query[i] * load_one(row[r] + i);
        products[static_cast<std::size_t>(r) * stride] = product;
    }
}
