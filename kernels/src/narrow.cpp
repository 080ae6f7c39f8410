#include "narrow.h"

#include "level.h"

#define TAMIS_BODY "../src/narrow.inl"
#include "each_tier.h"

namespace tamis {

void narrow(const float* from, std::size_t count, Half* to) {
    variant(active_level(), scalar::narrow, avx2::narrow, avx512::narrow)(from, count, to);
}

}  // namespace tamis
