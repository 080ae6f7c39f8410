// Candidate lists into one, best first, each row once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

constexpr std::size_t kMaxLists = 32;

struct RankedList {
    const std::int32_t* rows;  // best first; below 0 there is none
    std::size_t count;
    float weight;
    std::uint32_t source;  // bits that rows of this list get
};

struct ScoredList {
    const std::int32_t* rows;
    const float* scores;
    std::size_t count;
};

// Reciprocal rank fusion: a row's score is the sum, list by list, of weight / (damping + rank), of
// its first rank from 1 on there. Outputs have room for the sum of the counts. Returns the number of
// rows. One variant serves all levels: it is bound by look-ups in a hash table.
std::size_t fuse_ranks(const RankedList* lists, std::size_t list_count, float damping,
                       std::int32_t* rows, float* scores, std::uint32_t* sources);

// Each row with its best score (NaN: the worst there is), without the rows of `without`; otherwise as
// above.
std::size_t best_of(const ScoredList* lists, std::size_t list_count, const std::int32_t* without,
                    std::size_t without_count, std::int32_t* rows, float* scores);

}  // namespace tamis
