// Compiles TAMIS_BODY, an .inl file, once a level: as scalar::, avx2:: and avx512:: functions.
//
// Include it after all other headers: a template first instantiated in a region would carry that
// region's instructions into the code of every other file. No include guard, one use a source.
// A body sees kLanes, the floats of a register, and TAMIS_TIER, 0 to 2, for where it needs
// intrinsics; it must keep to internal linkage.

#include <cstring>

#include "half.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tamis {
namespace scalar {
namespace {
constexpr int kLanes = 4;  // SSE2 and NEON: the baseline of either architecture
#define TAMIS_TIER 0
#include TAMIS_BODY
#undef TAMIS_TIER
}  // namespace
}  // namespace scalar

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace avx2 {
namespace {
constexpr int kLanes = 8;
#define TAMIS_TIER 1
#include TAMIS_BODY
#undef TAMIS_TIER
}  // namespace
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-width=512")
namespace avx512 {
namespace {
constexpr int kLanes = 16;
#define TAMIS_TIER 2
#include TAMIS_BODY
#undef TAMIS_TIER
}  // namespace
}  // namespace avx512
#pragma GCC pop_options
#else
namespace avx2 = scalar;
namespace avx512 = scalar;
#endif
}  // namespace tamis
