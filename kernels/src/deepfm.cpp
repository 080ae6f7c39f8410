#include "deepfm.h"

#include <cmath>
#include <cstring>

namespace tamis {
namespace {
constexpr std::size_t kWidestPanel = 32, kMostRows = 8;
}  // namespace
}  // namespace tamis

#define TAMIS_BODY "../src/deepfm.inl"
#include "each_tier.h"

namespace tamis {
namespace {

void pack(PackedLayer& layer, const float* weights, const float* bias, std::size_t inputs,
          std::size_t outputs, std::size_t width) {
    layer.inputs = inputs;
    layer.padded_outputs = round_up(outputs, width);
    float* packed = layer.memory.reserve<float>(layer.padded_outputs * (inputs + 1));
    layer.panels = packed;
    for (std::size_t column = 0; column < layer.padded_outputs; column += width)
        for (std::size_t i = 0; i < inputs; ++i)
            for (std::size_t j = column; j < column + width; ++j)
                *packed++ = j < outputs ? weights[i * outputs + j] : 0;
    layer.bias = packed;
    for (std::size_t j = 0; j < layer.padded_outputs; ++j) *packed++ = j < outputs ? bias[j] : 0;
}

}  // namespace

DeepFM::DeepFM(const DeepFMWeights& weights) : weights_(weights), level_(active_level()) {
    const std::size_t width =
        variant(level_, scalar::panel_width, avx2::panel_width, avx512::panel_width)();
    pack(layer2_, weights.w2, weights.b2, weights.hidden1, weights.hidden2, width);
    pack(layer3_, weights.w3, weights.b3, weights.hidden2, weights.hidden3, width);
}

void DeepFM::score(const DeepFMUser& user, const std::int32_t* rows, const float* cross,
                   std::size_t count, float* probabilities) const {
    thread_local Buffer buffer;
    float* work = buffer.reserve<float>(
        kMostRows * (weights_.hidden1 + layer2_.padded_outputs + layer3_.padded_outputs));
    variant(level_, scalar::logits, avx2::logits, avx512::logits)(
        weights_, layer2_, layer3_, user, rows, cross, count, work, probabilities);
    for (std::size_t i = 0; i < count * weights_.heads; ++i)
        probabilities[i] = 1.0f / (1.0f + std::exp(-probabilities[i]));
}

}  // namespace tamis
