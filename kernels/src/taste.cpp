#include "taste.h"

#include <algorithm>
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

}  // namespace

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
