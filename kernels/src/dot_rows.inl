#include "dot_block.inl"

void dot_rows(const float* vectors, std::size_t dims, const std::int32_t* rows, std::size_t count,
              const float* queries, std::size_t query_count, float* products, std::size_t stride) {
    constexpr std::size_t kRows = 4;  // hides the latency of one row's sum behind the others
    constexpr std::size_t kAhead = 8;
    std::size_t i = 0;
    for (; i + kRows <= count; i += kRows) {
        const float* row[kRows];
#pragma GCC unroll 8
        for (std::size_t r = 0; r < kRows; ++r) {
            row[r] = vectors + static_cast<std::size_t>(rows[i + r]) * dims;
            if (i + r + kAhead < count) {
                const float* next = vectors + static_cast<std::size_t>(rows[i + r + kAhead]) * dims;
                for (std::size_t d = 0; d < dims; d += 16) __builtin_prefetch(next + d);
            }
        }
        for (std::size_t q = 0; q < query_count; ++q)
            dot_block<kRows>(row, queries + q * dims, dims, products + i * stride + q, stride);
    }
    for (; i < count; ++i) {
        const float* row = vectors + static_cast<std::size_t>(rows[i]) * dims;
        for (std::size_t q = 0; q < query_count; ++q)
            dot_block<1>(&row, queries + q * dims, dims, products + i * stride + q, 1);
    }
}
