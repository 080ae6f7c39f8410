// Floats in half the memory.
#pragma once

#include <cstddef>

#include "half.h"

namespace tamis {

// The nearest halves, ties to even; beyond the largest (65504) infinity. `from` may be unaligned.
void narrow(const float* from, std::size_t count, Half* to);

}  // namespace tamis
