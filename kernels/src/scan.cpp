#include "scan.h"

#include <algorithm>
#include <limits>
#include <new>

#include "best.h"
#include "buffer.h"
#include "dot_rows.h"

namespace tamis {

void scan(const ScanTable& table, const float* queries, std::size_t query_count, std::size_t k,
          std::int32_t* rows, float* scores) {
    const std::size_t stride = k;
    std::fill(rows, rows + query_count * stride, -1);
    std::fill(scores, scores + query_count * stride, -std::numeric_limits<float>::infinity());
    k = std::min(k, table.size);
    if (k == 0 || query_count == 0) return;
    thread_local Buffer products_memory, entries_memory, best_memory;
    float* products = products_memory.reserve<float>(kBlock * query_count);
    std::uint64_t* entries = entries_memory.reserve<std::uint64_t>(Best::room(k) * query_count);
    Best* best = best_memory.reserve<Best>(query_count);
    for (std::size_t q = 0; q < query_count; ++q) new (best + q) Best(entries + q * Best::room(k), k);
    allowed_blocks(table.bits, table.words, table.size, [&](const std::int32_t* block, std::size_t count) {
        dot_rows(table.vectors, table.dims, block, count, queries, query_count, products);
        for (std::size_t q = 0; q < query_count; ++q)
            best[q].add(block, products + q, query_count, count);
    });
    for (std::size_t q = 0; q < query_count; ++q) best[q].write(rows + q * stride, scores + q * stride);
}

}  // namespace tamis
