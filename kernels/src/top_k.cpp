#include "top_k.h"

#include <algorithm>

#include "buffer.h"
#include "score_key.h"

namespace tamis {
namespace {

struct Entry {
    std::uint64_t key;
    std::int32_t position;
};

bool before(const Entry& a, const Entry& b) {
    return a.key != b.key ? a.key < b.key : a.position < b.position;
}

}  // namespace

void top_k(const float* scores, const std::int32_t* rows, std::size_t count, std::size_t k,
           std::int32_t* positions) {
    k = std::min(k, count);
    thread_local Buffer buffer;
    Entry* entries = buffer.reserve<Entry>(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t row = static_cast<std::uint32_t>(rows[i]) ^ 0x80000000u;
        entries[i] = {std::uint64_t{score_key(scores[i])} << 32 | row,
                      static_cast<std::int32_t>(i)};
    }
    // keeps a heap of k: the bulk of the entries costs one comparison each
    std::partial_sort(entries, entries + k, entries + count, before);
    for (std::size_t i = 0; i < k; ++i) positions[i] = entries[i].position;
}

}  // namespace tamis
