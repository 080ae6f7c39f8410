#include "ranked.h"

#include <algorithm>

#include "level.h"

#define TAMIS_BODY "../src/ranked.inl"
#include "each_tier.h"

namespace tamis {
namespace {

constexpr std::size_t kBytes = 4;

// Runs of one score, so far by position, by row.
void settle_ties(std::uint64_t* entries, std::size_t count, const std::int32_t* rows) {
    const auto before = [rows](std::uint64_t a, std::uint64_t b) {
        const std::int32_t left = rows[ranked_position(a)], right = rows[ranked_position(b)];
        return left != right ? left < right : a < b;
    };
    for (std::size_t start = 0, end; start < count; start = end) {
        for (end = start + 1; end < count && entries[end] >> 32 == entries[start] >> 32;) ++end;
        if (end - start > 1) std::sort(entries + start, entries + end, before);
    }
}

// By the bytes of the score's key, the lowest first.
std::uint64_t* sort_bytes(std::uint64_t* entries, std::uint64_t* spare, std::size_t count) {
    std::uint32_t starts[kBytes][256] = {};
    for (std::size_t i = 0; i < count; ++i)
        for (std::size_t byte = 0; byte < kBytes; ++byte)
            ++starts[byte][entries[i] >> (32 + 8 * byte) & 0xff];
    for (std::size_t byte = 0; byte < kBytes; ++byte) {
        const std::size_t shift = 32 + 8 * byte;
        std::uint32_t* start = starts[byte];
        if (start[entries[0] >> shift & 0xff] == count) continue;  // all have the same
        std::uint32_t next = 0;
        for (std::size_t value = 0; value < 256; ++value) {
            const std::uint32_t has = start[value];
            start[value] = next;
            next += has;
        }
        for (std::size_t i = 0; i < count; ++i) spare[start[entries[i] >> shift & 0xff]++] = entries[i];
        std::swap(entries, spare);
    }
    return entries;
}

}  // namespace

std::uint64_t* sort_ranked(std::uint64_t* entries, std::uint64_t* spare, std::size_t count,
                           const std::int32_t* rows) {
    const auto few = variant(active_level(), scalar::sort_few, avx2::sort_few, avx512::sort_few);
    entries = few(entries, spare, count) ? spare : sort_bytes(entries, spare, count);
    settle_ties(entries, count, rows);
    return entries;
}

}  // namespace tamis
