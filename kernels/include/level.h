// Instruction-set levels: what this machine can run, and which one is active.
#pragma once

namespace tamis {

enum class Level { scalar, avx2, avx512 };

// The best level that both the processor and the operating system (saved registers) support.
Level best_level();

Level active_level();
void set_active_level(Level level);

// The variant of a kernel for `level`.
template <class Function>
Function* variant(Level level, Function* scalar, Function* avx2, Function* avx512) {
    return level == Level::avx512 ? avx512 : level == Level::avx2 ? avx2 : scalar;
}

}  // namespace tamis
