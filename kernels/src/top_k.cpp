#include "top_k.h"

#include <algorithm>
#include <cstring>

#include "buffer.h"

namespace tamis {
namespace {

struct Entry {
    std::uint64_t key;
    std::int32_t position;
};

bool before(const Entry& a, const Entry& b) {
    return a.key != b.key ? a.key < b.key : a.position < b.position;
}

// Ascends as the score descends; the largest of all for NaN.
std::uint32_t descending(float score) {
    if (score != score) return 0xffffffffu;
    score += 0.0f;  // -0.0 becomes 0.0
    std::uint32_t bits;
    std::memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

}  // namespace

void top_k(const float* scores, const std::int32_t* rows, std::size_t count, std::size_t k,
           std::int32_t* positions) {
    k = std::min(k, count);
    thread_local Buffer buffer;
    Entry* entries = buffer.reserve<Entry>(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t row = static_cast<std::uint32_t>(rows[i]) ^ 0x80000000u;
        entries[i] = {std::uint64_t{descending(scores[i])} << 32 | row,
                      static_cast<std::int32_t>(i)};
    }
    // keeps a heap of k: the bulk of the entries costs one comparison each
    std::partial_sort(entries, entries + k, entries + count, before);
    for (std::size_t i = 0; i < k; ++i) positions[i] = entries[i].position;
}

}  // namespace tamis
