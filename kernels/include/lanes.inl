// A register of kLanes floats (GCC and Clang vector extension); for bodies of each_tier.h.

typedef float Lanes __attribute__((vector_size(4 * kLanes)));

// Loads go through memcpy: an array from the outside may start at any byte.
inline float load_one(const float* from) {
    float value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline Lanes load(const float* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

inline void store(float* to, Lanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

inline Lanes broadcast(float value) { return value - Lanes{}; }

inline float total(Lanes lanes) {
    float part[kLanes];
    std::memcpy(part, &lanes, sizeof part);
    for (int width = kLanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) part[i] += part[i + width];
    return part[0];
}

// NaN in `lanes` never wins.
inline Lanes larger(Lanes lanes, Lanes best) { return lanes > best ? lanes : best; }
