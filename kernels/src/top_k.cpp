#include "top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "buffer.h"
#include "level.h"
#include "ranked.h"

namespace tamis {
namespace {
constexpr std::size_t kGroups = 4;  // as many scores for each of the k: it takes little more than the k
}  // namespace
}  // namespace tamis

#define TAMIS_BODY "../src/top_k.inl"
#include "each_tier.h"

namespace tamis {

void top_k(const float* scores, const std::int32_t* rows, std::size_t count, std::size_t k,
           std::int32_t* positions) {
    constexpr std::size_t kFew = 8;  // a heap of the best beats sorting all while k is this small a part
    k = std::min(k, count);
    if (k == 0) return;
    thread_local Buffer buffer, keys;
    std::uint64_t* entries = buffer.reserve<std::uint64_t>(2 * count);
    std::size_t found = count;
    if (2 * k < count) {
        auto* memory = keys.reserve<std::uint32_t>(2 * count);
        found = variant(active_level(), scalar::contenders, avx2::contenders, avx512::contenders)(
            scores, count, k, memory, memory + count, entries);
    } else {
        for (std::size_t i = 0; i < count; ++i) entries[i] = ranked(scores[i], i);
    }
    if (kFew * k < found)  // of many alike
        std::partial_sort(entries, entries + k, entries + found,
                          [rows](std::uint64_t a, std::uint64_t b) {
                              if (a >> 32 != b >> 32) return a < b;
                              const std::int32_t left = rows[ranked_position(a)];
                              const std::int32_t right = rows[ranked_position(b)];
                              return left != right ? left < right : a < b;
                          });
    else
        entries = sort_ranked(entries, entries + count, found, rows);
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
