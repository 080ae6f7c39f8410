// Memory aligned to a cache line, which is also the widest register.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

namespace tamis {

inline std::size_t round_up(std::size_t size, std::size_t multiple) {
    return (size + multiple - 1) / multiple * multiple;
}

class Buffer {
public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    // At least `count` elements of T, with unspecified content; invalidates what came before.
    template <class T>
    T* reserve(std::size_t count) {
        const std::size_t bytes = round_up(count * sizeof(T) + 1, 64);
        if (bytes > bytes_) {
            std::free(data_);
            bytes_ = 0;
            data_ = std::aligned_alloc(64, bytes);
            if (data_ == nullptr) throw std::bad_alloc();
            bytes_ = bytes;
        }
        return static_cast<T*>(data_);
    }

private:
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace tamis
