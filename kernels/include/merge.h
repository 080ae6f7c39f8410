// Candidate lists into one: duplicates joined, scores summed, provenance kept.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tamis {

constexpr std::size_t kMaxLists = 32;

struct CandidateList {
    const std::int32_t* rows;
    const float* scores;
    std::size_t count;
};

// Outputs have room for the sum of the counts. Returns the number of distinct rows. One variant
// serves all levels: it is bound by the look-ups in the hash table.
std::size_t merge(const CandidateList* lists, std::size_t list_count, std::int32_t* rows,
                  float* scores, std::uint32_t* sources);

}  // namespace tamis
