#include "residual.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tamis {

// Counted in bins, and so exactly: a sum would depend on its order, and codes on the level.
float residual_step(const float* numbers, std::size_t count) {
    constexpr int kBins = 1024;
    const auto counts = [](float size) { return size <= std::numeric_limits<float>::max(); };
    float most = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const float size = std::fabs(numbers[i]);
        if (counts(size)) most = std::max(most, size);
    }
    if (!(most > 1e-30f)) return 0;
    const float scale = kBins / most;
    std::size_t bins[kBins] = {}, all = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const float size = std::fabs(numbers[i]);
        if (!counts(size)) continue;
        ++bins[std::min(static_cast<int>(size * scale), kBins - 1)];
        ++all;
    }
    int bin = 0;
    for (std::size_t within = bins[0]; within * 1000 < all * 997; within += bins[bin]) ++bin;
    return static_cast<float>(bin + 1) * (most / kBins) / (kResidualLevels / 2);
}

}  // namespace tamis
