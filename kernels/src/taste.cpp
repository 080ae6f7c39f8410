#include "taste.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "buffer.h"
#include "dot_rows.h"

namespace tamis {
namespace {

// Query, last and mean of the recent, one after another; zeros where there is none.
void fill_probes(const CrossFeatures& about, float* probes) {
    const std::size_t dims = about.dims, bytes = dims * sizeof(float);
    const std::size_t recent = std::min(about.recent, about.events);
    float *last = probes + dims, *mean = last + dims;
    std::memset(probes, 0, 3 * bytes);
    if (about.query != nullptr) std::memcpy(probes, about.query, bytes);
    for (std::size_t i = about.events - recent; i < about.events; ++i) {
        std::memcpy(last, about.vectors + static_cast<std::size_t>(about.taken[i]) * dims, bytes);
        for (std::size_t d = 0; d < dims; ++d) mean[d] += last[d];
    }
    for (std::size_t d = 0; d < dims && recent > 0; ++d) mean[d] /= static_cast<float>(recent);
}

// Their rows of `neighbours`.
const std::int32_t* learnt(const CrossFeatures& about, const std::int32_t* rows, std::size_t count,
                           std::vector<std::int32_t>& memory) {
    if (about.learnt_as == nullptr) return rows;
    memory.resize(count);
    for (std::size_t i = 0; i < count; ++i) memory[i] = about.learnt_as[rows[i]];
    return memory.data();
}

// Of each column of values [n][width] the most frequent number above 0 among `count` rows.
void most_frequent(const std::int32_t* values, std::size_t width, const std::int32_t* rows,
                   std::size_t count, std::int32_t* modes) {
    thread_local std::vector<std::int32_t> column;
    for (std::size_t c = 0; c < width; ++c) {
        column.clear();
        for (std::size_t i = 0; i < count; ++i) {
            const std::int32_t value = values[static_cast<std::size_t>(rows[i]) * width + c];
            if (value > 0) column.push_back(value);
        }
        std::sort(column.begin(), column.end());
        std::size_t most = 0;
        modes[c] = 0;
        for (std::size_t i = 0, start = 0; i < column.size(); ++i) {
            if (column[i] != column[start]) start = i;
            if (i - start + 1 <= most) continue;
            most = i - start + 1;
            modes[c] = column[i];
        }
    }
}

}  // namespace

void user_features(const UserEvents& events, double now, std::size_t recent,
                   const std::int32_t* fields, std::size_t width, const float* popularity,
                   std::int32_t* values, float* dense) {
    constexpr double kDay = 86'400, kScale = 5;
    std::memset(values, 0, 2 * width * sizeof *values);
    std::memset(dense, 0, kUserDense * sizeof *dense);
    if (events.count == 0) return;
    const std::size_t latest = events.count - 1;
    const auto all = static_cast<double>(events.count);
    dense[0] = static_cast<float>(std::log1p(all) / kScale);
    dense[1] = static_cast<float>(std::log1p(std::max(now - events.times[latest], 0.0) / kDay) / kScale);
    thread_local std::vector<std::int32_t> chosen;
    chosen.clear();
    std::size_t positive = 0;
    for (std::size_t i = events.count; i-- > 0;) {
        if (!events.positive[i]) continue;
        if (positive++ < recent) chosen.push_back(events.rows[i]);
    }
    dense[3] = static_cast<float>(static_cast<double>(positive) / all);
    if (chosen.empty()) return;
    for (const std::int32_t row : chosen) {  // each lies somewhere else
        __builtin_prefetch(fields + static_cast<std::size_t>(row) * width);
        __builtin_prefetch(popularity + row);
    }
    most_frequent(fields, width, chosen.data(), chosen.size(), values);
    std::memcpy(values + width, fields + static_cast<std::size_t>(chosen[0]) * width,
                width * sizeof *values);
    double sum = 0;
    for (const std::int32_t row : chosen) sum += popularity[row];
    dense[2] = static_cast<float>(sum / static_cast<double>(chosen.size()));
}

void cross_features(const CrossFeatures& about, const std::int32_t* rows, std::size_t count,
                    float* cross) {
    thread_local Buffer buffer;
    thread_local std::vector<std::int32_t> taken, asked;
    float* probes = buffer.reserve<float>(3 * about.dims);
    fill_probes(about, probes);
    dot_rows(about.vectors, about.dims, rows, count, probes, 3, cross, kCrosses);
    affinities(about.neighbours, learnt(about, about.taken, about.events, taken), about.events,
               learnt(about, rows, count, asked), count, cross + 3, kCrosses);
}

}  // namespace tamis
