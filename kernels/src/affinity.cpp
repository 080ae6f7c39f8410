#include "affinity.h"

#include <algorithm>
#include <vector>

namespace tamis {
namespace {

bool is_row(const AffinityTable& table, std::int32_t row) {
    return static_cast<std::size_t>(static_cast<std::uint32_t>(row)) < table.size;
}

// Sums by row, all 0 between calls: only what was added to is cleared.
class Sums {
public:
    Sums(const AffinityTable& table, const std::int32_t* history, std::size_t events)
        : table_(table), met_(met_memory()), sum_(sum_memory()) {
        if (sum_.size() < table.size) sum_.resize(table.size, 0.0);
        met_.assign(history, history + events);
        std::sort(met_.begin(), met_.end());
        met_.erase(std::unique(met_.begin(), met_.end()), met_.end());
        each([this](std::size_t row, float weight) { sum_[row] += static_cast<double>(weight); });
    }
    Sums(const Sums&) = delete;
    Sums& operator=(const Sums&) = delete;
    ~Sums() {
        each([this](std::size_t row, float) { sum_[row] = 0; });
    }

    double& operator[](std::int32_t row) { return sum_[static_cast<std::size_t>(row)]; }
    const std::vector<std::int32_t>& met() const { return met_; }

    template <class Use>
    void each(const Use& use) const {
        constexpr std::size_t kAhead = 4;  // rows of the table, fetched while others are added
        for (std::size_t i = 0; i < met_.size(); ++i) {
            if (i + kAhead < met_.size() && is_row(table_, met_[i + kAhead])) prefetch(met_[i + kAhead]);
            if (!is_row(table_, met_[i])) continue;
            const std::size_t first = static_cast<std::size_t>(met_[i]) * table_.width;
            for (std::size_t j = first; j < first + table_.width; ++j)
                if (is_row(table_, table_.rows[j]))
                    use(static_cast<std::size_t>(table_.rows[j]), table_.weights[j]);
        }
    }

private:
    static std::vector<std::int32_t>& met_memory() {
        thread_local std::vector<std::int32_t> memory;
        return memory;
    }
    static std::vector<double>& sum_memory() {
        thread_local std::vector<double> memory;
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
    std::vector<double>& sum_;
};

}  // namespace

void affinities(const AffinityTable& table, const std::int32_t* history, std::size_t events,
                const std::int32_t* asked, std::size_t count, float* sums) {
    Sums sum(table, history, events);
    for (std::size_t i = 0; i < count; ++i)
        sums[i] = is_row(table, asked[i]) ? static_cast<float>(sum[asked[i]]) : 0;
}

std::size_t affine_rows(const AffinityTable& table, const std::int32_t* history,
                        std::size_t events, std::int32_t* rows, float* sums) {
    thread_local std::vector<std::uint64_t> found;  // a bit a row, all 0 between calls
    if (found.size() < (table.size + 63) / 64) found.resize((table.size + 63) / 64, 0);
    Sums sum(table, history, events);
    for (const std::int32_t row : sum.met())
        if (is_row(table, row)) sum[row] = 0;
    sum.each([](std::size_t row, float) { found[row / 64] |= std::uint64_t{1} << row % 64; });
    std::size_t count = 0;
    for (std::size_t word = 0; word < (table.size + 63) / 64; ++word) {
        for (std::uint64_t bits = found[word]; bits != 0; bits &= bits - 1) {
            const auto row = static_cast<std::int32_t>(word * 64) + __builtin_ctzll(bits);
            if (!(sum[row] > 0)) continue;
            rows[count] = row;
            sums[count++] = static_cast<float>(sum[row]);
        }
        found[word] = 0;
    }
    return count;
}

}  // namespace tamis
