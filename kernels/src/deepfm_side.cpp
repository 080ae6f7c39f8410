#include "deepfm_side.h"

#include <cstring>

#include "buffer.h"

#define TAMIS_BODY "../src/deepfm_side.inl"
#include "each_tier.h"

namespace tamis {

void deepfm_parts(const DeepFMSideWeights& weights, const std::int32_t* slots, const float* dense,
                  std::size_t count, const DeepFMParts& parts) {
    thread_local Buffer buffer;
    const std::size_t inputs = weights.fields * weights.factors + weights.dense;
    float* flat = buffer.reserve<float>(4 * inputs);
    variant(active_level(), scalar::deepfm_parts, avx2::deepfm_parts, avx512::deepfm_parts)(
        weights, slots, dense, count, flat, parts);
}

}  // namespace tamis
