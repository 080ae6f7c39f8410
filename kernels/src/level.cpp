#include "level.h"

#include <atomic>

namespace tamis {

Level best_level() {
#if defined(__x86_64__)
    // the compiler's runtime reads CPUID, and XCR0 for the registers the system saves
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("f16c"))
        return Level::scalar;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512vnni"))
        return Level::avx2;
    return Level::avx512;
#else
    return Level::scalar;
#endif
}

static std::atomic<Level> active{Level::scalar};

Level active_level() { return active.load(std::memory_order_relaxed); }

void set_active_level(Level level) { active.store(level, std::memory_order_relaxed); }

}  // namespace tamis
