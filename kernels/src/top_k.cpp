#include "top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "buffer.h"
#include "ranked.h"

namespace tamis {

void top_k(const float* scores, const std::int32_t* rows, std::size_t count, std::size_t k,
           std::int32_t* positions) {
    constexpr std::size_t kFew = 8;  // a heap of the best beats sorting all while k is this small a part
    k = std::min(k, count);
    thread_local Buffer buffer;
    std::uint64_t* entries = buffer.reserve<std::uint64_t>(2 * count);
    for (std::size_t i = 0; i < count; ++i) entries[i] = ranked(scores[i], i);
    if (kFew * k < count)
        std::partial_sort(entries, entries + k, entries + count,
                          [rows](std::uint64_t a, std::uint64_t b) {
                              if (a >> 32 != b >> 32) return a < b;
                              const std::int32_t left = rows[ranked_position(a)];
                              const std::int32_t right = rows[ranked_position(b)];
                              return left != right ? left < right : a < b;
                          });
    else
        entries = sort_ranked(entries, entries + count, count, rows);
    for (std::size_t i = 0; i < k; ++i)
        positions[i] = static_cast<std::int32_t>(ranked_position(entries[i]));
}

void best_scaled(const float* scores, const std::int32_t* rows, std::size_t count, std::size_t k,
                 std::int32_t* positions, float* scaled) {
    k = std::min(k, count);
    top_k(scores, rows, count, k, positions);
    float low = std::numeric_limits<float>::infinity(), high = -low;
    for (std::size_t i = 0; i < k; ++i) {
        scaled[i] = scores[positions[i]];
        if (!std::isfinite(scaled[i])) continue;
        low = std::min(low, scaled[i]);
        high = std::max(high, scaled[i]);
    }
    const double span = double{high} - low;  // a float may be too small for it
    for (std::size_t i = 0; i < k; ++i) {
        const double share = span > 0 ? (double{scaled[i]} - low) / span : 1;
        scaled[i] = std::isfinite(scaled[i]) ? static_cast<float>(share)
                                             : std::numeric_limits<float>::quiet_NaN();
    }
}

}  // namespace tamis
