#include "lanes.inl"

#include "codes.inl"

// Candidates scored together: their sums and two registers of weights fill the register file.
constexpr int kRows = kLanes == 16 ? 8 : 4;
constexpr std::size_t kPanel = 2 * kLanes;
static_assert(kPanel <= kWidestPanel && kRows <= kMostRows, "deepfm.cpp sizes the buffers by these");
static_assert(kFill % kLanes == 0 && kFill % kGroup == 0, "so that encode gets whole registers");

constexpr std::size_t panel_width() { return kPanel; }
constexpr std::size_t group_size() { return kGroup; }

// NaN passes.
inline Lanes relu(Lanes x) { return x < 0 ? Lanes{} : x; }

template <class Number>
inline float dot(const float* __restrict left, const Number* right, std::size_t count) {
    Lanes sum = {};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) sum += load(left + i) * load(right + i);
    float product = total(sum);
    for (; i < count; ++i) product += left[i] * load_one(right + i);
    return product;
}

// The outputs of one panel, for kRows rows; panel p starts at column p * kPanel. `beside` is called
// before each step over the inputs.
// The unrolled loops keep the sums in registers: left rolled, arrays live in memory.
template <class Beside>
inline void dense_relu(const PackedLayer& layer, std::size_t column, const float* input,
                       std::size_t input_stride, float* output, const Beside& beside) {
    const float* weights = layer.panels + column * layer.inputs;
    Lanes left[kRows], right[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
        left[r] = load(layer.bias + column);
        right[r] = load(layer.bias + column + kLanes);
    }
    for (std::size_t i = 0; i < layer.inputs; ++i, weights += kPanel) {
        beside();
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

// As dense_relu, for codes; `worth` of each row's.
template <class Beside>
inline void coded_relu(const CodedLayer& layer, std::size_t column, const Code* input,
                       std::size_t input_stride, const float* worth, float* output,
                       const Beside& beside) {
    const CodeWeight* weights =
        static_cast<const CodeWeight*>(layer.panels) + column * layer.inputs;
    Ints left[kRows] = {}, right[kRows] = {};
    for (std::size_t i = 0; i < layer.inputs; i += kGroup, weights += kPanel * kGroup) {
        beside();
        const Ints a = load_groups(weights), b = load_groups(weights + kLanes * kGroup);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const Ints x = broadcast_group(input + static_cast<std::size_t>(r) * input_stride + i);
            left[r] = add_products(left[r], x, a);
            right[r] = add_products(right[r], x, b);
        }
    }
    const Lanes step_a = load(layer.step + column), bias_a = load(layer.bias + column);
    const Lanes step_b = load(layer.step + column + kLanes);
    const Lanes bias_b = load(layer.bias + column + kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
        float* to = output + static_cast<std::size_t>(r) * layer.padded_outputs + column;
        const Lanes a = __builtin_convertvector(left[r], Lanes) * (step_a * worth[r]);
        const Lanes b = __builtin_convertvector(right[r], Lanes) * (step_b * worth[r]);
        store(to, relu(a + bias_a));
        store(to + kLanes, relu(b + bias_b));
    }
}

// Of kRows items, each filled up to `stride` with zeros; cross is [kRows][crosses].
template <class Number>
inline void first_layer(const DeepFMWeights& w, const float* user_hidden,
                        const Number* const* item, const float* const* cross, std::size_t stride,
                        float* hidden) {
    std::size_t j = 0;
    for (; j + kLanes <= w.hidden1; j += kLanes) {
        const Lanes user = load(user_hidden + j);
        Lanes sum[kRows];
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sum[r] = user + load(item[r] + j);
        for (std::size_t x = 0; x < w.crosses; ++x) {
            const Lanes weights = load(w.cross_hidden + x * w.hidden1 + j);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) sum[r] += cross[r][x] * weights;
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r)
            store(hidden + static_cast<std::size_t>(r) * stride + j, relu(sum[r]));
    }
    for (int r = 0; r < kRows; ++r) {
        float* to = hidden + static_cast<std::size_t>(r) * stride;
        for (std::size_t i = j; i < stride; ++i) {
            float sum = i < w.hidden1 ? user_hidden[i] + load_one(item[r] + i) : 0;
            for (std::size_t x = 0; x < w.crosses && i < w.hidden1; ++x)
                sum += cross[r][x] * w.cross_hidden[x * w.hidden1 + i];
            to[i] = sum < 0 ? 0 : sum;
        }
    }
}

// Items on their way to the cache, a line at a time between multiplications: many at once would take
// all the buffers for what is missed, and the weights of a layer, which fill the first cache alone,
// need some.
class Ahead {
public:
    // lines: has room for those of kRows rows.
    explicit Ahead(const char** lines) : lines_(lines), next_(lines), end_(lines) {}

    // Those of these rows instead of what may be left.
    template <class Number>
    void expect(const DeepFMWeights& w, const std::int32_t* rows, std::size_t count) {
        next_ = end_ = lines_;
        for (std::size_t r = 0; r < count; ++r) {
            const auto row = static_cast<std::size_t>(rows[r]);
            add(w.item_bias + row, sizeof(float));
            add(static_cast<const Number*>(w.item_factors) + row * w.factors, w.factors * sizeof(Number));
            add(static_cast<const Number*>(w.item_hidden) + row * w.hidden1, w.hidden1 * sizeof(Number));
        }
    }

    std::size_t left() const { return static_cast<std::size_t>(end_ - next_); }

    void fetch() {
        if (next_ < end_) __builtin_prefetch(*next_++);
    }

private:
    // What may start anywhere in a line.
    void add(const void* from, std::size_t bytes) {
        const char* start = static_cast<const char*>(from);
        const char* line = start - reinterpret_cast<std::uintptr_t>(start) % kLine;
        for (; line < start + bytes; line += kLine) *end_++ = line;
    }

    const char **lines_, **next_, **end_;
};

template <class Number>
inline void score_rows(const DeepFMWeights& w, const DeepFMLayers& layers, Arithmetic arithmetic,
                       const DeepFMUser& user, const std::int32_t* rows, const float* cross,
                       std::size_t count, void* work, float* out) {
    const bool coded = arithmetic == Arithmetic::int8;
    const std::size_t stride1 = round_up(w.hidden1, kFill);
    const std::size_t stride2 = coded ? layers.coded_second.padded_outputs
                                      : layers.second.padded_outputs;
    const std::size_t stride3 = coded ? layers.coded_third.padded_outputs
                                      : layers.third.padded_outputs;
    float* hidden1 = static_cast<float*>(work);
    float* hidden2 = hidden1 + kRows * stride1;
    float* hidden3 = hidden2 + kRows * stride2;
    Code* codes1 = reinterpret_cast<Code*>(hidden3 + kRows * stride3);
    Code* codes2 = codes1 + kRows * stride1;
    float worth1[kRows], worth2[kRows];
    const std::size_t steps =
        stride2 / kPanel * (coded ? layers.coded_second.inputs / kGroup : layers.second.inputs);
    Ahead ahead(reinterpret_cast<const char**>(codes2 + kRows * stride2));
    const auto fetch = [&] { ahead.fetch(); };
    const auto nothing = [] {};
    ahead.expect<Number>(w, rows, count < kRows ? count : kRows);
    while (ahead.left() > 0) fetch();
    for (std::size_t start = 0; start < count; start += kRows) {
        const std::size_t block = count - start < kRows ? count - start : kRows;
        const Number* item[kRows];
        const float* crossed[kRows];
        for (std::size_t r = 0; r < kRows; ++r) {
            // a short block repeats its last candidate
            const std::size_t at = start + (r < block ? r : block - 1);
            item[r] = static_cast<const Number*>(w.item_hidden) +
                      static_cast<std::size_t>(rows[at]) * w.hidden1;
            crossed[r] = cross + at * w.crosses;
        }
        first_layer<Number>(w, user.hidden, item, crossed, stride1, hidden1);
        for (std::size_t r = 0; coded && r < kRows; ++r)
            worth1[r] = encode(hidden1 + r * stride1, stride1, codes1 + r * stride1);
        const std::size_t next = start + block;
        ahead.expect<Number>(w, rows + next, count - next < kRows ? count - next : kRows);
        while (ahead.left() > steps) fetch();
        for (std::size_t column = 0; column < stride2; column += kPanel)
            if (coded)
                coded_relu(layers.coded_second, column, codes1, stride1, worth1, hidden2, fetch);
            else
                dense_relu(layers.second, column, hidden1, stride1, hidden2, fetch);
        for (std::size_t r = 0; coded && r < kRows; ++r)
            worth2[r] = encode(hidden2 + r * stride2, stride2, codes2 + r * stride2);
        for (std::size_t column = 0; column < stride3; column += kPanel)
            if (coded)
                coded_relu(layers.coded_third, column, codes2, stride2, worth2, hidden3, nothing);
            else
                dense_relu(layers.third, column, hidden2, stride2, hidden3, nothing);
        for (std::size_t r = 0; r < block; ++r) {
            const auto row = static_cast<std::size_t>(rows[start + r]);
            const Number* factors = static_cast<const Number*>(w.item_factors) + row * w.factors;
            const float wide = user.bias + load_one(w.item_bias + row) +
                               dot(user.factors, factors, w.factors) +
                               dot(w.cross_linear, cross + (start + r) * w.crosses, w.crosses);
            for (std::size_t head = 0; head < w.heads; ++head)
                out[(start + r) * w.heads + head] =
                    w.bias[head] + w.wide[head] * wide +
                    dot(w.w_out + head * w.hidden3, hidden3 + r * stride3, w.hidden3);
        }
    }
}

void logits(const DeepFMWeights& w, const DeepFMLayers& layers, Arithmetic arithmetic,
            const DeepFMUser& user, const std::int32_t* rows, const float* cross,
            std::size_t count, void* work, float* out) {
    const auto run = w.cell == Cell::f16 ? score_rows<Half> : score_rows<float>;
    run(w, layers, arithmetic, user, rows, cross, count, work, out);
}

inline std::int32_t code_of(float weight, float scale) {
    return static_cast<std::int32_t>(__builtin_rintf(weight * scale));
}

// `to` has padded_outputs * (inputs, filled up to whole groups) entries.
void pack_codes(const float* weights, std::size_t inputs, std::size_t outputs,
                const CodedLayer& layer, float* step, void* to) {
    auto* packed = static_cast<CodeWeight*>(to);
    for (std::size_t j = 0; j < layer.padded_outputs; ++j) {
        float most = 0;
        for (std::size_t i = 0; i < inputs && j < outputs; ++i) {
            const float size = __builtin_fabsf(weights[i * outputs + j]);
            most = size > most ? size : most;
        }
        step[j] = most / 127;
    }
    for (std::size_t column = 0; column < layer.padded_outputs; column += kPanel)
        for (std::size_t group = 0; group < layer.inputs; group += kGroup)
            for (std::size_t j = column; j < column + kPanel; ++j)
                for (std::size_t i = group; i < group + kGroup; ++i)
                    *packed++ = static_cast<CodeWeight>(
                        i < inputs && j < outputs && step[j] > 0
                            ? code_of(weights[i * outputs + j], 1 / step[j])
                            : 0);
}
