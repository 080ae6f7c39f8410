// Memory aligned to a cache line, which is also the widest register; in huge pages where it is large
// and they can be had.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

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
        const bool large = count * sizeof(T) >= kHugePage;
        const std::size_t alignment = large ? kHugePage : 64;
        const std::size_t bytes = round_up(count * sizeof(T) + 1, alignment);
        if (bytes > bytes_) {
            std::free(data_);
            bytes_ = 0;
            data_ = std::aligned_alloc(alignment, bytes);
            if (data_ == nullptr) throw std::bad_alloc();
            bytes_ = bytes;
#if defined(__linux__)
            if (large) madvise(data_, bytes, MADV_HUGEPAGE);  // without, it is only slower
#endif
        }
        return static_cast<T*>(data_);
    }

    // What was last reserved.
    template <class T>
    const T* data() const {
        return static_cast<const T*>(data_);
    }

private:
    static constexpr std::size_t kHugePage = std::size_t{2} << 20;

    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace tamis
