// Products of a few rows with a matrix; for bodies of each_tier.h, after lanes.inl.

// Adds input [Rows][inputs] times weights [inputs][outputs] to sums [Rows][outputs], Streams
// registers of columns at a time, from `column` on; returns the first column that is left.
template <int Rows, int Streams>
inline std::size_t add_panels(const float* input, std::size_t inputs, const float* weights,
                              std::size_t outputs, std::size_t column, float* sums) {
    constexpr std::size_t kPanel = Streams * kLanes;
    for (; column + kPanel <= outputs; column += kPanel) {
        Lanes sum[Rows][Streams];
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
            for (int s = 0; s < Streams; ++s)
                sum[r][s] = load(sums + static_cast<std::size_t>(r) * outputs + column + s * kLanes);
        const float* from = weights + column;
        for (std::size_t i = 0; i < inputs; ++i, from += outputs) {
#pragma GCC unroll 8
            for (int r = 0; r < Rows; ++r) {
                const Lanes x = broadcast(input[static_cast<std::size_t>(r) * inputs + i]);
#pragma GCC unroll 8
                for (int s = 0; s < Streams; ++s) sum[r][s] += x * load(from + s * kLanes);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
            for (int s = 0; s < Streams; ++s)
                store(sums + static_cast<std::size_t>(r) * outputs + column + s * kLanes, sum[r][s]);
    }
    return column;
}

// Adds input [Rows][inputs] times weights [inputs][outputs] to sums [Rows][outputs].
template <int Rows>
inline void add_dense(const float* input, std::size_t inputs, const float* weights,
                      std::size_t outputs, float* sums) {
    // enough sums under way to hide the latency of one
    std::size_t column = add_panels<Rows, 8 / Rows>(input, inputs, weights, outputs, 0, sums);
    column = add_panels<Rows, 1>(input, inputs, weights, outputs, column, sums);
    for (std::size_t r = 0; r < Rows; ++r)
        for (std::size_t j = column; j < outputs; ++j) {
            float sum = sums[r * outputs + j];
            for (std::size_t i = 0; i < inputs; ++i)
                sum += input[r * inputs + i] * weights[i * outputs + j];
            sums[r * outputs + j] = sum;
        }
}
