// Checked views of NumPy arrays: exact dtype, shape, contiguity; aligned where a kernel needs it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <variant>

#include "half.h"

// float16, which C++17 has no type for
template <>
struct pybind11::detail::npy_format_descriptor<tamis::Half> {
    static constexpr auto name = const_name("numpy.float16");
    static pybind11::dtype dtype() { return pybind11::dtype("e"); }
    static std::string format() { return "e"; }
};

namespace tamis {

namespace py = pybind11;

// An argument, or one of a sequence, as errors call it; put together for them alone.
class Name {
public:
    Name(const char* argument) : argument_(argument) {}
    Name(const char* argument, std::size_t i) : argument_(argument), i_(static_cast<std::ptrdiff_t>(i)) {}

    std::string str() const {
        return i_ < 0 ? argument_ : std::string(argument_) + "[" + std::to_string(i_) + "]";
    }

private:
    const char* argument_;
    std::ptrdiff_t i_ = -1;
};

// Kernels marked as accepting unaligned input get large tables as they are.
enum class Alignment { needed, any };

template <class T>
class Array {
public:
    Array(Name name, py::handle object, py::ssize_t axes,
          Alignment alignment = Alignment::needed)
        : name_(name), array_(checked(name, object)) {
        if (array_.ndim() != axes)
            throw py::value_error(name.str() + ": " + std::to_string(axes) +
                                  " dimension(s) are needed, got " +
                                  std::to_string(array_.ndim()));
        if (!(array_.flags() & py::array::c_style))
            throw py::value_error(name.str() + ": a C-contiguous array is needed");
        if (alignment == Alignment::needed) align();
    }

    const T* data() const { return static_cast<const T*>(array_.data()); }
    T* writable() {
        if (!array_.writeable()) throw py::value_error(name_.str() + ": a writable array is needed");
        return static_cast<T*>(array_.mutable_data());
    }
    std::size_t size() const { return static_cast<std::size_t>(array_.size()); }
    std::size_t shape(int axis) const { return static_cast<std::size_t>(array_.shape(axis)); }

    const Array& check_length(std::size_t expected, int axis = 0) const {
        if (shape(axis) != expected)
            throw py::value_error(name_.str() + ": axis " + std::to_string(axis) + " must have " +
                                  std::to_string(expected) + " entries, got " +
                                  std::to_string(shape(axis)));
        return *this;
    }

private:
    // Returned, not assigned: a py::array that starts empty allocates one.
    static py::array checked(Name name, py::handle object) {
        if (!py::isinstance<py::array>(object))
            throw py::type_error(name.str() + ": a NumPy array of " + dtype() + " is needed, got " +
                                 std::string(py::str(py::type::of(object).attr("__name__"))));
        auto array = py::reinterpret_borrow<py::array>(object);
        if (!py::isinstance<py::array_t<T, 0>>(object))
            throw py::type_error(name.str() + ": dtype " + dtype() + " is needed, got " +
                                 std::string(py::str(array.dtype())));
        return array;
    }

    static std::string dtype() { return py::str(py::dtype::of<T>()); }

    void align() {
        if (reinterpret_cast<std::uintptr_t>(array_.data()) % alignof(T) == 0) return;
        py::array_t<T> copy(
            std::vector<py::ssize_t>(array_.shape(), array_.shape() + array_.ndim()));
        std::memcpy(copy.mutable_data(), array_.data(), static_cast<std::size_t>(array_.nbytes()));
        array_ = std::move(copy);
    }

    Name name_;
    py::array array_;
};

// A table of float32 or of float16, as it comes.
class Cells {
public:
    Cells(Name name, py::handle object, py::ssize_t axes) : array_(made(name, object, axes)) {}

    const void* data() const {
        return std::visit([](const auto& array) -> const void* { return array.data(); }, array_);
    }
    bool half() const { return std::holds_alternative<Array<Half>>(array_); }
    std::size_t shape(int axis) const {
        return std::visit([axis](const auto& array) { return array.shape(axis); }, array_);
    }
    const Cells& check_length(std::size_t expected, int axis = 0) const {
        std::visit([=](const auto& array) { array.check_length(expected, axis); }, array_);
        return *this;
    }

private:
    using Either = std::variant<Array<float>, Array<Half>>;

    static Either made(Name name, py::handle object, py::ssize_t axes) {
        if (py::isinstance<py::array_t<Half, 0>>(object))
            return Array<Half>(name, object, axes, Alignment::any);
        return Array<float>(name, object, axes, Alignment::any);
    }

    Either array_;
};

inline void check_rows(const Array<std::int32_t>& rows, std::size_t count,
                       const char* name = "rows") {
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (rows.data()[i] < 0 || static_cast<std::size_t>(rows.data()[i]) >= count)
            throw py::index_error(std::string(name) + "[" + std::to_string(i) + "] is " +
                                  std::to_string(rows.data()[i]) + ", allowed are 0 to " +
                                  std::to_string(static_cast<std::int64_t>(count) - 1));
}

// As check_rows, where what is below 0 stands for nothing.
template <class T>
void check_below(const Array<T>& values, std::size_t count, const char* name) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (static_cast<std::int64_t>(values.data()[i]) >= static_cast<std::int64_t>(count))
            throw py::index_error(std::string(name) + "[" + std::to_string(i) + "] is " +
                                  std::to_string(values.data()[i]) + ", allowed are up to " +
                                  std::to_string(static_cast<std::int64_t>(count) - 1));
}

inline std::size_t checked_k(std::int64_t k) {
    if (k < 0) throw py::value_error("k must be 0 or more, got " + std::to_string(k));
    return static_cast<std::size_t>(k);
}

template <class T>
py::array_t<T> empty(std::size_t count) {
    return py::array_t<T>(static_cast<py::ssize_t>(count));
}

// The first `count` entries of `array`, which then owns no more than these.
template <class T>
py::array_t<T> first(py::array_t<T>&& array, std::size_t count) {
    array.resize({static_cast<py::ssize_t>(count)}, false);
    return std::move(array);
}

}  // namespace tamis
