// Look-ups: rows of keys, and bits of rows.

#include "arguments.h"
#include "bindings.h"
#include "key_index.h"

namespace tamis {
namespace {

using Unlocked = py::gil_scoped_release;

class BoundKeyIndex {
public:
    explicit BoundKeyIndex(py::handle keys)
        : keys_("keys", keys, 1), index_(indexed(checked_size())) {}

    std::size_t distinct() const { return index_.distinct(); }

    py::array_t<std::int32_t> find(py::handle wanted_object) const {
        const Array<std::uint64_t> wanted("wanted", wanted_object, 1);
        auto positions = empty<std::int32_t>(wanted.size());
        std::int32_t* out = positions.mutable_data();
        const Unlocked unlocked;
        index_.find(wanted.data(), wanted.size(), out);
        return positions;
    }

private:
    // Of a million keys it takes tens of milliseconds, in which others get on.
    KeyIndex indexed(std::size_t size) const {
        const Unlocked unlocked;
        return KeyIndex(keys_.data(), size);
    }

    std::size_t checked_size() const {
        if (keys_.size() > std::size_t{1} << 30)
            throw py::value_error("keys: at most 2^30 are allowed, got " +
                                  std::to_string(keys_.size()));
        return keys_.size();
    }

    Array<std::uint64_t> keys_;
    KeyIndex index_;
};

py::array_t<std::uint64_t> row_bits(py::handle rows_object, std::int64_t words) {
    const Array<std::int32_t> rows("rows", rows_object, 1);
    if (words < 0) throw py::value_error("words must be 0 or more, got " + std::to_string(words));
    const auto count = static_cast<std::size_t>(words);
    auto bits = empty<std::uint64_t>(count);
    std::uint64_t* out = bits.mutable_data();
    const Unlocked unlocked;
    std::memset(out, 0, count * sizeof(std::uint64_t));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::int32_t row = rows.data()[i];
        if (row < 0 || static_cast<std::size_t>(row) / 64 >= count) continue;
        out[row / 64] |= std::uint64_t{1} << row % 64;
    }
    return bits;
}

}  // namespace

void bind_lookups(py::module_& module) {
    using py::arg;
    module.def("bits_of", row_bits, arg("rows"), arg("words"));
    py::class_<BoundKeyIndex>(module, "KeyIndex")
        .def(py::init<py::handle>(), arg("keys"))
        .def_property_readonly("distinct", &BoundKeyIndex::distinct)
        .def("find", &BoundKeyIndex::find, arg("wanted"));
}

}  // namespace tamis
