// Records of users, many at a time. The interpreter lock is kept: there is little to do for each of
// them, and what a record is held in are Python's bytes.

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>

#include "arguments.h"
#include "bindings.h"
#include "user_records.h"

namespace tamis {
namespace {

std::size_t checked_most(std::int64_t most) {
    if (most < 0) throw py::value_error("most must be 0 or more, got " + std::to_string(most));
    return static_cast<std::size_t>(most);
}

// Stored records, and which of `count` things go to each: record i gets starts[i] to starts[i + 1].
class Records {
public:
    Records(const py::list& stored, py::handle starts, std::size_t count)
        : stored_(stored), starts_("starts", starts, 1) {
        starts_.check_length(stored.size() + 1);
        const std::int64_t* start = starts_.data();
        if (start[0] != 0 || !std::is_sorted(start, start + starts_.size()) ||
            static_cast<std::size_t>(start[stored.size()]) != count)
            throw py::value_error("starts: must ascend from 0 to " + std::to_string(count));
    }

    // The records after change(record, begin, end) says whether it changed one; those that it did
    // not change are the same objects.
    template <class Change>
    py::list changed(Change change) const {
        py::list after(stored_.size());
        std::string record;
        for (std::size_t i = 0; i < stored_.size(); ++i) {
            const py::object before = stored_[i];
            if (!py::isinstance<py::bytes>(before))
                throw py::type_error("stored[" + std::to_string(i) + "]: bytes are needed");
            record = std::string_view(py::reinterpret_borrow<py::bytes>(before));
            try {
                const auto begin = static_cast<std::size_t>(starts_.data()[i]);
                const auto end = static_cast<std::size_t>(starts_.data()[i + 1]);
                after[i] = change(record, begin, end) ? py::bytes(record) : before;
            } catch (const std::invalid_argument& error) {
                throw py::value_error("stored[" + std::to_string(i) + "]: " + error.what());
            }
        }
        return after;
    }

private:
    const py::list& stored_;
    Array<std::int64_t> starts_;
};

py::list append_all_events(const py::list& stored, py::handle starts, py::handle keys_object,
                           py::handle times_object, py::handle kinds_object, std::int64_t most) {
    const Array<std::uint64_t> keys("keys", keys_object, 1);
    const Array<double> times("times", times_object, 1);
    const Array<std::uint8_t> kinds("kinds", kinds_object, 1);
    times.check_length(keys.size());
    kinds.check_length(keys.size());
    check_below(kinds, kKinds, "kinds");
    const std::size_t kept = checked_most(most);
    const EventColumns events{keys.data(), times.data(), kinds.data()};
    return Records(stored, starts, keys.size())
        .changed([&](std::string& history, std::size_t begin, std::size_t end) {
            if (begin == end) return false;
            append_events(history, events, begin, end, kept);
            return true;
        });
}

py::tuple append_all_keys(const py::list& stored, py::handle starts, py::handle keys_object,
                          std::int64_t most) {
    const Array<std::uint64_t> keys("keys", keys_object, 1);
    const std::size_t room = checked_most(most);
    auto outcomes = empty<std::uint8_t>(keys.size());
    std::uint8_t* outcome = outcomes.mutable_data();
    py::list after = Records(stored, starts, keys.size())
        .changed([&](std::string& list, std::size_t begin, std::size_t end) {
            const std::size_t before = list.size();
            for (std::size_t i = begin; i < end; ++i)
                outcome[i] = static_cast<std::uint8_t>(append_key(list, keys.data()[i], room));
            return list.size() != before;
        });
    return py::make_tuple(std::move(after), std::move(outcomes));
}

py::list insert_all_keys(const py::list& stored, py::handle starts, py::handle keys_object,
                         std::int64_t first_blocks, py::handle layer_bits_object) {
    const Array<std::uint64_t> keys("keys", keys_object, 1);
    const Array<double> layer_bits("layer_bits", layer_bits_object, 1);
    if (first_blocks < 1)
        throw py::value_error("first_blocks must be 1 or more, got " + std::to_string(first_blocks));
    const FilterGrowth growth{static_cast<std::size_t>(first_blocks), layer_bits.data(),
                              layer_bits.size()};
    return Records(stored, starts, keys.size())
        .changed([&](std::string& filter, std::size_t begin, std::size_t end) {
            bool changed = false;
            for (std::size_t i = begin; i < end; ++i)
                changed |= insert_key(filter, keys.data()[i], growth);
            return changed;
        });
}

std::string_view bytes_at(const py::list& list, std::size_t i, const char* name) {
    const py::handle item = PyList_GET_ITEM(list.ptr(), static_cast<py::ssize_t>(i));
    if (!PyBytes_Check(item.ptr()))
        throw py::type_error(std::string(name) + "[" + std::to_string(i) + "]: bytes are needed");
    return {PyBytes_AS_STRING(item.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(item.ptr()))};
}

// What one(record) makes of each record: an object.
template <class One>
py::list each_record(const py::list& records, One one) {
    py::list made(records.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
        try {
            made[i] = one(i, bytes_at(records, i, "records"));
        } catch (const std::invalid_argument& error) {
            throw py::value_error("records[" + std::to_string(i) + "]: " + error.what());
        }
    }
    return made;
}

py::list parts_of(const py::list& records, const py::bytes& name_object) {
    const std::string_view name = name_object;
    return each_record(records, [&](std::size_t, std::string_view record) {
        for (Part part; next_part(record, part);)
            if (part.name == name) return py::bytes(part.content.data(), part.content.size());
        return py::bytes();
    });
}

py::list with_parts(const py::list& records, const py::bytes& name_object,
                    const py::list& contents) {
    const std::string_view name = name_object;
    if (name.size() > 255) throw py::value_error("name: at most 255 bytes are allowed");
    if (contents.size() != records.size())
        throw py::value_error("contents: " + std::to_string(records.size()) +
                              " entries are needed, got " + std::to_string(contents.size()));
    std::string after;
    return each_record(records, [&](std::size_t i, std::string_view record) -> py::object {
        const std::string_view content = bytes_at(contents, i, "contents");
        bool changed = !content.empty();
        after.clear();
        for (Part part; next_part(record, part);)
            if (part.name != name)
                append_part(after, part);
            else
                changed = part.content != content;
        if (!changed) return records[i];
        if (!content.empty()) append_part(after, {name, content});
        return py::bytes(after);
    });
}

py::list only_parts(const py::list& records, const py::list& names) {
    std::string after;
    return each_record(records, [&](std::size_t i, std::string_view record) -> py::object {
        const std::size_t before = record.size();
        after.clear();
        for (Part part; next_part(record, part);)
            for (std::size_t j = 0; j < names.size(); ++j)
                if (part.name == bytes_at(names, j, "names")) {
                    append_part(after, part);
                    break;
                }
        if (after.size() == before) return records[i];
        return py::bytes(after);
    });
}

}  // namespace

void bind_records(py::module_& module) {
    using py::arg;
    module.def("append_events", append_all_events, arg("stored"), arg("starts"), arg("keys"),
               arg("times"), arg("kinds"), arg("most"));
    module.def("append_keys", append_all_keys, arg("stored"), arg("starts"), arg("keys"),
               arg("most"));
    module.def("insert_keys", insert_all_keys, arg("stored"), arg("starts"), arg("keys"),
               arg("first_blocks"), arg("layer_bits"));
    module.def("parts_of", parts_of, arg("records"), arg("name"));
    module.def("with_parts", with_parts, arg("records"), arg("name"), arg("contents"));
    module.def("only_parts", only_parts, arg("records"), arg("names"));
}

}  // namespace tamis
