#include "top_k.h"

#include <algorithm>

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

}  // namespace tamis
