#include "deepfm.h"

#include <cmath>
#include <cstdint>
#include <cstring>

namespace tamis {
namespace {
constexpr std::size_t kWidestPanel = 32, kMostRows = 8;
constexpr std::size_t kFill = 16;       // rows of the first layer are filled up to this many
constexpr std::size_t kCodeBytes = 2;  // at most
constexpr std::size_t kLine = 64;

// Cache lines that a row of `length` numbers may lie in.
constexpr std::size_t lines_of(std::size_t length) { return length * sizeof(float) / kLine + 2; }
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

void pack_coded(Level level, CodedLayer& layer, const float* weights, const float* bias,
                std::size_t inputs, std::size_t outputs) {
    const std::size_t width =
        variant(level, scalar::panel_width, avx2::panel_width, avx512::panel_width)();
    const std::size_t group =
        variant(level, scalar::group_size, avx2::group_size, avx512::group_size)();
    layer.inputs = round_up(inputs, group);
    layer.padded_outputs = round_up(outputs, width);
    const std::size_t codes = round_up(layer.padded_outputs * layer.inputs * kCodeBytes, 64);
    auto* memory =
        layer.memory.reserve<unsigned char>(codes + 2 * layer.padded_outputs * sizeof(float));
    float* step = reinterpret_cast<float*>(memory + codes);
    float* padded_bias = step + layer.padded_outputs;
    for (std::size_t j = 0; j < layer.padded_outputs; ++j)
        padded_bias[j] = j < outputs ? bias[j] : 0;
    variant(level, scalar::pack_codes, avx2::pack_codes, avx512::pack_codes)(
        weights, inputs, outputs, layer, step, memory);
    layer.panels = memory;
    layer.step = step;
    layer.bias = padded_bias;
}

}  // namespace

DeepFM::DeepFM(const DeepFMWeights& w, Arithmetic arithmetic)
    : weights_(w), arithmetic_(arithmetic), level_(active_level()) {
    if (arithmetic == Arithmetic::int8) {
        pack_coded(level_, layers_.coded_second, w.w2, w.b2, w.hidden1, w.hidden2);
        pack_coded(level_, layers_.coded_third, w.w3, w.b3, w.hidden2, w.hidden3);
        return;
    }
    const std::size_t width =
        variant(level_, scalar::panel_width, avx2::panel_width, avx512::panel_width)();
    pack(layers_.second, w.w2, w.b2, w.hidden1, w.hidden2, width);
    pack(layers_.third, w.w3, w.b3, w.hidden2, w.hidden3, width);
}

void DeepFM::score(const DeepFMUser& user, const std::int32_t* rows, const float* cross,
                   std::size_t count, float* probabilities) const {
    thread_local Buffer buffer;
    const std::size_t stride1 = round_up(weights_.hidden1, kFill);
    const std::size_t stride2 = round_up(weights_.hidden2, kWidestPanel);
    const std::size_t stride3 = round_up(weights_.hidden3, kWidestPanel);
    void* work = buffer.reserve<unsigned char>(
        kMostRows * ((stride1 + stride2 + stride3) * sizeof(float) + (stride1 + stride2) * kCodeBytes +
                     (1 + lines_of(weights_.factors) + lines_of(weights_.hidden1)) * sizeof(char*)));
    variant(level_, scalar::logits, avx2::logits, avx512::logits)(
        weights_, layers_, arithmetic_, user, rows, cross, count, work, probabilities);
    for (std::size_t i = 0; i < count * weights_.heads; ++i)
        probabilities[i] = 1.0f / (1.0f + std::exp(-probabilities[i]));
}

}  // namespace tamis
