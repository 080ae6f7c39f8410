#include "merge.h"

#include "buffer.h"
#include "ranked.h"
#include "row_slots.h"

namespace tamis {
namespace {

struct Entry {
    std::int32_t row;
    float score;
    std::uint32_t sources, last_list;
};

// The merged entries, found again by their rows.
class Entries {
public:
    explicit Entries(std::size_t most) : slots_(memory().slots, most) {
        index_ = memory().index.reserve<std::uint32_t>(slots_.count());
        entries_ = memory().entries.reserve<Entry>(most);
        most_ = most;
    }

    // Of a row from 0 on.
    Entry& of(std::int32_t row, bool& added) {
        const std::size_t slot = slots_.add(row, added);
        if (!added) return entries_[index_[slot]];
        index_[slot] = static_cast<std::uint32_t>(count_);
        return entries_[count_++] = {row, 0, 0, 0};
    }

    // Best first; those whose `sources` are kLeftOut are left out.
    std::size_t write(std::int32_t* rows, float* scores, std::uint32_t* sources) const {
        auto* ranks = memory().ranks.reserve<std::uint64_t>(2 * most_);
        auto* by_position = memory().rows.reserve<std::int32_t>(most_);
        std::size_t kept = 0;
        for (std::size_t i = 0; i < count_; ++i) {
            by_position[i] = entries_[i].row;
            if (entries_[i].sources != kLeftOut) ranks[kept++] = ranked(entries_[i].score, i);
        }
        ranks = sort_ranked(ranks, ranks + most_, kept, by_position);
        for (std::size_t i = 0; i < kept; ++i) {
            const Entry& entry = entries_[ranked_position(ranks[i])];
            rows[i] = entry.row;
            scores[i] = entry.score;
            if (sources != nullptr) sources[i] = entry.sources;
        }
        return kept;
    }

    static constexpr std::uint32_t kLeftOut = 0;

private:
    struct Memory {
        Buffer slots, index, entries, ranks, rows;
    };
    static Memory& memory() {
        thread_local Memory memory;
        return memory;
    }

    RowSlots slots_;
    std::uint32_t* index_;
    Entry* entries_;
    std::size_t count_ = 0, most_;
};

template <class List>
std::size_t total(const List* lists, std::size_t count) {
    std::size_t sum = 0;
    for (std::size_t s = 0; s < count; ++s) sum += lists[s].count;
    return sum;
}

}  // namespace

std::size_t fuse_ranks(const RankedList* lists, std::size_t list_count, float damping,
                       std::int32_t* rows, float* scores, std::uint32_t* sources) {
    Entries entries(total(lists, list_count));
    for (std::size_t s = 0; s < list_count; ++s) {
        const RankedList& list = lists[s];
        const auto number = static_cast<std::uint32_t>(s);
        for (std::size_t i = 0; i < list.count; ++i) {
            if (list.rows[i] < 0) continue;
            bool added = false;
            Entry& entry = entries.of(list.rows[i], added);
            if (!added && entry.last_list == number) continue;
            entry.score += list.weight / (damping + static_cast<float>(i + 1));
            entry.sources |= list.source;
            entry.last_list = number;
        }
    }
    return entries.write(rows, scores, sources);
}

std::size_t best_of(const ScoredList* lists, std::size_t list_count, const std::int32_t* without,
                    std::size_t without_count, std::int32_t* rows, float* scores) {
    constexpr std::uint32_t kKept = 1;
    Entries entries(total(lists, list_count) + without_count);
    bool added = false;
    for (std::size_t i = 0; i < without_count; ++i)
        if (without[i] >= 0) entries.of(without[i], added);
    for (std::size_t s = 0; s < list_count; ++s)
        for (std::size_t i = 0; i < lists[s].count; ++i) {
            if (lists[s].rows[i] < 0) continue;
            const float score = lists[s].scores[i];
            Entry& entry = entries.of(lists[s].rows[i], added);
            if (added)
                entry = {lists[s].rows[i], score, kKept, 0};
            else if (score_key(score) < score_key(entry.score) && entry.sources == kKept)
                entry.score = score;
        }
    return entries.write(rows, scores, nullptr);
}

}  // namespace tamis
