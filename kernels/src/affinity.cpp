#include "affinity.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "buffer.h"
#include "row_slots.h"

namespace tamis {
namespace {

bool is_row(const AffinityTable& table, std::int32_t row) {
    return static_cast<std::size_t>(static_cast<std::uint32_t>(row)) < table.size;
}

// Sums by row, of the few rows that the history speaks for: a table of these stays in the cache.
class Sums {
public:
    Sums(const AffinityTable& table, const std::int32_t* history, std::size_t events)
        : table_(table), met_(memory().met) {
        met_.assign(history, history + events);
        std::sort(met_.begin(), met_.end());
        met_.erase(std::unique(met_.begin(), met_.end()), met_.end());
        met_.erase(std::remove_if(met_.begin(), met_.end(),
                                  [&](std::int32_t row) { return !is_row(table, row); }),
                   met_.end());
        slots_ = RowSlots(memory().slots, met_.size() * table.width);
        sum_ = memory().sums.reserve<double>(slots_.count());
        each([this](std::int32_t row, float weight) {
            bool added = false;
            double& sum = sum_[slots_.add(row, added)];
            sum = (added ? 0 : sum) + static_cast<double>(weight);
        });
    }

    // The sum of a row, null where nothing speaks of it.
    double* of(std::int32_t row) const {
        const std::size_t slot = slots_.find(row);
        return slot == slots_.count() ? nullptr : sum_ + slot;
    }
    const std::vector<std::int32_t>& met() const { return met_; }

    template <class Use>
    void all(const Use& use) const {
        for (std::size_t slot = 0; slot < slots_.count(); ++slot)
            if (slots_.row(slot) >= 0) use(slots_.row(slot), sum_[slot]);
    }

private:
    template <class Use>
    void each(const Use& use) const {
        constexpr std::size_t kAhead = 4;  // rows of the table, fetched while others are added
        for (std::size_t i = 0; i < met_.size(); ++i) {
            if (i + kAhead < met_.size()) prefetch(met_[i + kAhead]);
            const std::size_t first = static_cast<std::size_t>(met_[i]) * table_.width;
            for (std::size_t j = first; j < first + table_.width; ++j)
                if (is_row(table_, table_.rows[j])) use(table_.rows[j], table_.weights[j]);
        }
    }

    struct Memory {
        std::vector<std::int32_t> met;
        Buffer slots, sums;
    };
    static Memory& memory() {
        thread_local Memory memory;
        return memory;
    }

    void prefetch(std::int32_t row) const {
        const std::size_t first = static_cast<std::size_t>(row) * table_.width;
        for (std::size_t j = first; j < first + table_.width; j += 16) {
            __builtin_prefetch(table_.rows + j);
            __builtin_prefetch(table_.weights + j);
        }
    }

    const AffinityTable& table_;
    std::vector<std::int32_t>& met_;
    RowSlots slots_;
    double* sum_;
};

}  // namespace

void affinities(const AffinityTable& table, const std::int32_t* history, std::size_t events,
                const std::int32_t* asked, std::size_t count, float* sums, std::size_t stride) {
    const Sums sum(table, history, events);
    for (std::size_t i = 0; i < count; ++i) {
        const double* found = is_row(table, asked[i]) ? sum.of(asked[i]) : nullptr;
        sums[i * stride] = found == nullptr ? 0 : static_cast<float>(*found);
    }
}

std::size_t affine_rows(const AffinityTable& table, const std::int32_t* history,
                        std::size_t events, std::int32_t* rows, float* sums) {
    const Sums sum(table, history, events);
    for (const std::int32_t row : sum.met())
        if (double* own = sum.of(row)) *own = 0;
    std::size_t count = 0;
    sum.all([&](std::int32_t row, double weight) {
        if (!(weight > 0)) return;
        rows[count] = row;
        sums[count++] = static_cast<float>(weight);
    });
    return count;
}

}  // namespace tamis
