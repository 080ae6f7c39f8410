// Look-ups: rows of keys, and bits of rows.

#include "arguments.h"
#include "bindings.h"
#include "key_index.h"
#include "xxh64.h"

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

    std::int32_t find_text(const py::str& text) const {
        const std::uint64_t key = key_of(text);
        std::int32_t position = -1;
        index_.find(&key, 1, &position);
        return position;
    }

private:
    static std::uint64_t key_of(const py::str& text) {
        py::ssize_t size = 0;
        const char* bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
        if (bytes == nullptr) throw py::error_already_set();
        return xxh64(reinterpret_cast<const std::uint8_t*>(bytes), static_cast<std::size_t>(size));
    }

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

py::list texts_at(py::handle data_object, py::handle offsets_object, py::handle positions_object) {
    const Array<std::uint8_t> data("data", data_object, 1);
    const Array<std::int64_t> offsets("offsets", offsets_object, 1, Alignment::any);
    const Array<std::int32_t> positions("positions", positions_object, 1);
    if (offsets.size() == 0) throw py::value_error("offsets: at least 1 is needed, got 0");
    check_rows(positions, offsets.size() - 1, "positions");
    const std::size_t count = positions.size();
    const auto offset = [&](std::size_t i) {
        std::int64_t value;
        std::memcpy(&value, offsets.data() + i, sizeof value);
        return value;
    };
    // each lies somewhere else: all are on their way before the first is needed
    for (std::size_t i = 0; i < count; ++i) __builtin_prefetch(offsets.data() + positions.data()[i]);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = static_cast<std::size_t>(positions.data()[i]);
        const std::int64_t start = offset(at), end = offset(at + 1);
        if (start < 0 || end < start || static_cast<std::size_t>(end) > data.size())
            throw py::value_error("offsets[" + std::to_string(at) + "] and the next are " +
                                  std::to_string(start) + " and " + std::to_string(end) +
                                  ", they must ascend within the " + std::to_string(data.size()) +
                                  " bytes");
        __builtin_prefetch(data.data() + start);
    }
    py::list found(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = static_cast<std::size_t>(positions.data()[i]);
        const std::int64_t start = offset(at);
        PyObject* text = PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(data.data()) + start,
                                              offset(at + 1) - start, nullptr);
        if (text == nullptr) throw py::error_already_set();
        PyList_SET_ITEM(found.ptr(), static_cast<py::ssize_t>(i), text);
    }
    return found;
}

}  // namespace

void bind_lookups(py::module_& module) {
    using py::arg;
    module.def("bits_of", row_bits, arg("rows"), arg("words"));
    py::class_<BoundKeyIndex>(module, "KeyIndex")
        .def(py::init<py::handle>(), arg("keys"))
        .def_property_readonly("distinct", &BoundKeyIndex::distinct)
        .def("find", &BoundKeyIndex::find, arg("wanted"))
        .def("find_text", &BoundKeyIndex::find_text, arg("text"));
    module.def("texts", texts_at, arg("data"), arg("offsets"), arg("positions"));
}

}  // namespace tamis
