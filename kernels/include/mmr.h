// Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998).
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

struct MmrCandidates {
    const float* vectors;  // [n][dims], may be unaligned
    std::size_t dims;
    const std::int32_t* rows;  // [count], all in range
    const float* relevance;    // [count]
    std::size_t count;
};

// Writes the positions of min(k, count) candidates in the order picked.
void mmr(const MmrCandidates& candidates, std::size_t k, double trade_off, std::int32_t* positions);

}  // namespace tamis
