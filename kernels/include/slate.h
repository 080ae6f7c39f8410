// Greedy choice of a diverse slate among ranked candidates.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

struct SlateCandidates {
    const float* vectors;  // [n][dims], may be unaligned
    std::size_t dims;
    const std::int32_t* rows;  // [count], all in range
    const float* relevance;    // [count]
    std::size_t count;

    const float* vector(std::size_t at) const {
        return vectors + static_cast<std::size_t>(rows[at]) * dims;
    }
};

// Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998), and the determinantal point
// process (Chen, Zhang & Zhou, NeurIPS 2018). Both write the positions of min(k, count) candidates
// in the order picked.
void mmr(const SlateCandidates& candidates, std::size_t k, double trade_off,
         std::int32_t* positions);
void dpp(const SlateCandidates& candidates, std::size_t k, double trade_off,
         std::int32_t* positions);

}  // namespace tamis
