#include "merge.h"

#include <algorithm>

#include "buffer.h"

namespace tamis {

std::size_t merge(const CandidateList* lists, std::size_t list_count, std::int32_t* rows,
                  float* scores, std::uint32_t* sources) {
    std::size_t total = 0;
    for (std::size_t s = 0; s < list_count; ++s) total += lists[s].count;
    int bits = 4;
    while (std::size_t{1} << bits < 2 * total) ++bits;
    const std::size_t slots = std::size_t{1} << bits;

    // open addressing; a slot holds one more than the index of its row, 0 when free
    thread_local Buffer buffer;
    std::uint32_t* table = buffer.reserve<std::uint32_t>(slots);
    std::fill(table, table + slots, 0u);

    std::uint32_t merged = 0;
    for (std::size_t s = 0; s < list_count; ++s) {
        const std::uint32_t source = 1u << s;
        for (std::size_t i = 0; i < lists[s].count; ++i) {
            const std::int32_t row = lists[s].rows[i];
            const float score = lists[s].scores[i];
            if (row < 0 || score != score) continue;
            std::size_t slot = static_cast<std::uint64_t>(row) * 0x9E3779B97F4A7C15u >> (64 - bits);
            while (table[slot] != 0 && rows[table[slot] - 1] != row) slot = (slot + 1) & (slots - 1);
            if (table[slot] == 0) {
                rows[merged] = row;
                scores[merged] = score;
                sources[merged] = source;
                table[slot] = ++merged;
            } else if (const std::uint32_t at = table[slot] - 1; !(sources[at] & source)) {
                scores[at] += score;
                sources[at] |= source;
            }
        }
    }
    return merged;
}

}  // namespace tamis
