#include "dot_rows.h"

#include <cstring>

#include "level.h"

#define TAMIS_BODY "../src/dot_rows.inl"
#include "each_tier.h"

namespace tamis {

void dot_rows(const float* vectors, std::size_t dims, const std::int32_t* rows, std::size_t count,
              const float* queries, std::size_t query_count, float* products, std::size_t stride) {
    variant(active_level(), scalar::dot_rows, avx2::dot_rows, avx512::dot_rows)(
        vectors, dims, rows, count, queries, query_count, products, stride);
}

}  // namespace tamis
