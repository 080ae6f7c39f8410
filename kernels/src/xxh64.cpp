#include "xxh64.h"

#include <cstring>

namespace tamis {
namespace {

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u, kPrime2 = 0xC2B2AE3D27D4EB4Fu,
                        kPrime3 = 0x165667B19E3779F9u, kPrime4 = 0x85EBCA77C2B2AE63u,
                        kPrime5 = 0x27D4EB2F165667C5u;

// Little-endian by the specification, as are all machines we build for.
template <class Word>
Word read(const std::uint8_t* from) {
    Word word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

std::uint64_t rotate(std::uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

std::uint64_t round(std::uint64_t accumulator, std::uint64_t lane) {
    return rotate(accumulator + lane * kPrime2, 31) * kPrime1;
}

}  // namespace

std::uint64_t xxh64(const std::uint8_t* data, std::size_t length) {
    std::size_t left = length;
    std::uint64_t h = kPrime5;
    if (left >= 32) {
        std::uint64_t lane[4] = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
        for (; left >= 32; left -= 32, data += 32)
            for (int i = 0; i < 4; ++i)
                lane[i] = round(lane[i], read<std::uint64_t>(data + 8 * i));
        h = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
        for (const std::uint64_t value : lane) h = (h ^ round(0, value)) * kPrime1 + kPrime4;
    }
    h += length;
    for (; left >= 8; left -= 8, data += 8)
        h = rotate(h ^ round(0, read<std::uint64_t>(data)), 27) * kPrime1 + kPrime4;
    if (left >= 4) {
        h = rotate(h ^ read<std::uint32_t>(data) * kPrime1, 23) * kPrime2 + kPrime3;
        left -= 4, data += 4;
    }
    for (; left > 0; --left, ++data) h = rotate(h ^ *data * kPrime5, 11) * kPrime1;
    h = (h ^ h >> 33) * kPrime2;
    h = (h ^ h >> 29) * kPrime3;
    return h ^ h >> 32;
}

}  // namespace tamis
