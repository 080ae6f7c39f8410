#include "lanes.inl"

// Candidates scored together: their sums and two registers of weights fill the register file.
constexpr int kRows = kLanes == 16 ? 8 : 4;
constexpr std::size_t kPanel = 2 * kLanes;
static_assert(kPanel <= kWidestPanel && kRows <= kMostRows, "deepfm.cpp sizes the buffers by these");

constexpr std::size_t panel_width() { return kPanel; }

// NaN passes.
inline Lanes relu(Lanes x) { return x < 0 ? Lanes{} : x; }

inline float dot(const float* __restrict left, const float* right, std::size_t count) {
    Lanes sum = {};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) sum += load(left + i) * load(right + i);
    float product = total(sum);
    for (; i < count; ++i) product += left[i] * load_one(right + i);
    return product;
}

// The unrolled loops keep the sums in registers: left rolled, arrays live in memory.
inline void dense_relu(const PackedLayer& layer, const float* input, std::size_t input_stride,
                       float* output) {
    for (std::size_t column = 0; column < layer.padded_outputs; column += kPanel) {
        const float* weights = layer.panels + column * layer.inputs;
        Lanes left[kRows], right[kRows];
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            left[r] = load(layer.bias + column);
            right[r] = load(layer.bias + column + kLanes);
        }
        for (std::size_t i = 0; i < layer.inputs; ++i, weights += kPanel) {
            const Lanes a = load(weights), b = load(weights + kLanes);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) {
                const Lanes x = broadcast(input[static_cast<std::size_t>(r) * input_stride + i]);
                left[r] += x * a;
                right[r] += x * b;
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            float* to = output + static_cast<std::size_t>(r) * layer.padded_outputs + column;
            store(to, relu(left[r]));
            store(to + kLanes, relu(right[r]));
        }
    }
}

inline void first_layer(const DeepFMWeights& w, const float* __restrict user_hidden,
                        std::int32_t row, const float* cross, float* __restrict hidden) {
    std::memcpy(hidden, w.item_hidden + static_cast<std::size_t>(row) * w.hidden1,
                w.hidden1 * sizeof(float));
    for (std::size_t j = 0; j < w.hidden1; ++j) hidden[j] += user_hidden[j];
    for (std::size_t x = 0; x < w.crosses; ++x) {
        const float value = cross[x];
        const float* __restrict weights = w.cross_hidden + x * w.hidden1;
        for (std::size_t j = 0; j < w.hidden1; ++j) hidden[j] += value * weights[j];
    }
    for (std::size_t j = 0; j < w.hidden1; ++j) hidden[j] = hidden[j] < 0 ? 0 : hidden[j];
}

inline void prefetch_rows(const DeepFMWeights& w, const std::int32_t* rows, std::size_t count) {
    for (std::size_t r = 0; r < count; ++r) {
        const auto row = static_cast<std::size_t>(rows[r]);
        for (std::size_t j = 0; j < w.hidden1; j += 16)
            __builtin_prefetch(w.item_hidden + row * w.hidden1 + j);
        __builtin_prefetch(w.item_factors + row * w.factors);
        __builtin_prefetch(w.item_bias + row);
    }
}

void logits(const DeepFMWeights& w, const PackedLayer& layer2, const PackedLayer& layer3,
            const DeepFMUser& user, const std::int32_t* rows, const float* cross,
            std::size_t count, float* work, float* out) {
    float* hidden1 = work;
    float* hidden2 = hidden1 + kRows * w.hidden1;
    float* hidden3 = hidden2 + kRows * layer2.padded_outputs;
    for (std::size_t start = 0; start < count; start += kRows) {
        const std::size_t left = count - start;
        const std::size_t block = left < kRows ? left : kRows;
        const std::size_t ahead = left - block;
        prefetch_rows(w, rows + start + block, ahead < kRows ? ahead : kRows);
        for (std::size_t r = 0; r < kRows; ++r) {
            // a short block repeats its last candidate
            const std::size_t at = start + (r < block ? r : block - 1);
            first_layer(w, user.hidden, rows[at], cross + at * w.crosses, hidden1 + r * w.hidden1);
        }
        dense_relu(layer2, hidden1, w.hidden1, hidden2);
        dense_relu(layer3, hidden2, layer2.padded_outputs, hidden3);
        for (std::size_t r = 0; r < block; ++r) {
            const auto row = static_cast<std::size_t>(rows[start + r]);
            const float wide = user.bias + load_one(w.item_bias + row) +
                               dot(user.factors, w.item_factors + row * w.factors, w.factors) +
                               dot(w.cross_linear, cross + (start + r) * w.crosses, w.crosses);
            for (std::size_t head = 0; head < w.heads; ++head)
                out[(start + r) * w.heads + head] =
                    w.bias[head] + w.wide[head] * wide +
                    dot(w.w_out + head * w.hidden3, hidden3 + r * layer3.padded_outputs, w.hidden3);
        }
    }
}
