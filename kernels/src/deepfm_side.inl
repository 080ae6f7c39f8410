#include "lanes.inl"

#include "dense.inl"

// One row's embeddings and dense features side by side, the sum of the embeddings; returns the row's
// bias: first order, and its own pairs as (|sum|^2 - sum of |v|^2) / 2.
inline float lay_out(const DeepFMSideWeights& w, const std::int32_t* slots, const float* dense,
                     float* flat, float* factors) {
    float linear = 0, squares = 0, square = 0;
    std::memset(factors, 0, w.factors * sizeof(float));
    for (std::size_t f = 0; f < w.fields; ++f, flat += w.factors) {
        const float* embedded = w.embedding + static_cast<std::size_t>(slots[f]) * w.factors;
        std::memcpy(flat, embedded, w.factors * sizeof(float));
        linear += w.linear[slots[f]];
        for (std::size_t i = 0; i < w.factors; ++i) {
            factors[i] += embedded[i];
            squares += embedded[i] * embedded[i];
        }
    }
    for (std::size_t i = 0; i < w.factors; ++i) square += factors[i] * factors[i];
    std::memcpy(flat, dense, w.dense * sizeof(float));
    for (std::size_t i = 0; i < w.dense; ++i) linear += dense[i] * w.dense_linear[i];
    return (square - squares) / 2 + linear;
}

template <int Rows>
inline void rows_parts(const DeepFMSideWeights& w, const std::int32_t* slots, const float* dense,
                       std::size_t row, float* flat, const DeepFMParts& parts) {
    const std::size_t inputs = w.fields * w.factors + w.dense;
    float* hidden = parts.hidden + row * w.hidden;
    for (std::size_t r = 0; r < Rows; ++r) {
        parts.bias[row + r] =
            lay_out(w, slots + (row + r) * w.fields, dense + (row + r) * w.dense, flat + r * inputs,
                    parts.factors + (row + r) * w.factors);
        std::memcpy(hidden + r * w.hidden, w.b1, w.hidden * sizeof(float));
    }
    add_dense<Rows>(flat, inputs, w.w1, w.hidden, hidden);
}

void deepfm_parts(const DeepFMSideWeights& w, const std::int32_t* slots, const float* dense,
                  std::size_t count, float* flat, const DeepFMParts& parts) {
    std::size_t row = 0;
    for (; row + 4 <= count; row += 4) rows_parts<4>(w, slots, dense, row, flat, parts);
    for (; row < count; ++row) rows_parts<1>(w, slots, dense, row, flat, parts);
}
