// Features of users and candidates, and the item-to-item weights that some of them are made of.

#include <algorithm>
#include <optional>

#include "affinity.h"
#include "arguments.h"
#include "bindings.h"
#include "taste.h"

namespace tamis {
namespace {

using Unlocked = py::gil_scoped_release;

// Arrays of a table and what it looks like to the kernel.
struct BoundTable {
    BoundTable(py::handle rows_object, py::handle weights_object, const char* rows_name,
               const char* weights_name)
        : rows(rows_name, rows_object, 2), weights(weights_name, weights_object, 2) {
        weights.check_length(rows.shape(0)).check_length(rows.shape(1), 1);
        table = {rows.data(), weights.data(), rows.shape(0), rows.shape(1)};
    }

    Array<std::int32_t> rows;
    Array<float> weights;
    AffinityTable table;
};

py::array_t<float> affinities_of(py::handle rows_object, py::handle weights_object,
                                 py::handle history_object, py::handle asked_object) {
    const BoundTable bound(rows_object, weights_object, "rows", "weights");
    const Array<std::int32_t> history("history", history_object, 1);
    const Array<std::int32_t> asked("asked", asked_object, 1);
    auto sums = empty<float>(asked.size());
    float* out = sums.mutable_data();
    const Unlocked unlocked;
    affinities(bound.table, history.data(), history.size(), asked.data(), asked.size(), out);
    return sums;
}

py::tuple affine_to(py::handle rows_object, py::handle weights_object, py::handle history_object) {
    const BoundTable bound(rows_object, weights_object, "rows", "weights");
    const Array<std::int32_t> history("history", history_object, 1);
    const std::size_t room = affine_room(bound.table, history.size());
    auto rows = empty<std::int32_t>(room);
    auto sums = empty<float>(room);
    std::int32_t* rows_out = rows.mutable_data();
    float* sums_out = sums.mutable_data();
    std::size_t count = 0;
    {
        const Unlocked unlocked;
        count = affine_rows(bound.table, history.data(), history.size(), rows_out, sums_out);
    }
    return py::make_tuple(first(std::move(rows), count), first(std::move(sums), count));
}

py::tuple features_of(py::handle rows_object, py::handle times_object, py::handle positive_object,
                      double now, std::size_t recent, py::handle fields_object,
                      py::handle popularity_object, py::handle tail_object) {
    const Array<std::int32_t> rows("rows", rows_object, 1);
    const Array<double> times("times", times_object, 1);
    const Array<bool> positive("positive", positive_object, 1);
    const Array<std::int32_t> item_fields("item_fields", fields_object, 2);
    const Array<float> popularity("popularity", popularity_object, 1);
    const Array<std::int32_t> tail("tail", tail_object, 1);
    times.check_length(rows.size());
    positive.check_length(rows.size());
    if (popularity.size() < item_fields.shape(0))
        throw py::value_error("popularity: at least " + std::to_string(item_fields.shape(0)) +
                              " entries are needed, got " + std::to_string(popularity.size()));
    check_rows(rows, item_fields.shape(0));
    const std::size_t width = item_fields.shape(1);
    auto fields = empty<std::int32_t>(2 * width + tail.size());
    auto dense = empty<float>(kUserDense);
    std::int32_t* values = fields.mutable_data();
    user_features({rows.data(), times.data(), positive.data(), rows.size()}, now, recent,
                  item_fields.data(), width, popularity.data(), values, dense.mutable_data());
    std::copy(tail.data(), tail.data() + tail.size(), values + 2 * width);
    return py::make_tuple(std::move(fields), std::move(dense));
}

py::array_t<float> crossed(py::handle vectors_object, py::handle rows_object,
                           py::handle query_object, py::handle taken_object, std::size_t recent,
                           py::handle near_rows, py::handle near_weights,
                           py::handle learnt_object) {
    const Array<float> vectors("vectors", vectors_object, 2, Alignment::any);
    const Array<std::int32_t> rows("rows", rows_object, 1);
    const Array<std::int32_t> taken("taken", taken_object, 1);
    const BoundTable near(near_rows, near_weights, "near_rows", "near_weights");
    std::optional<Array<float>> query;
    if (!query_object.is_none())
        query.emplace("query", query_object, 1).check_length(vectors.shape(1));
    std::optional<Array<std::int32_t>> learnt_as;
    if (!learnt_object.is_none()) learnt_as.emplace("learnt_as", learnt_object, 1);
    if (learnt_as && learnt_as->size() < vectors.shape(0))
        throw py::value_error("learnt_as: at least " + std::to_string(vectors.shape(0)) +
                              " entries are needed, got " + std::to_string(learnt_as->size()));
    check_rows(rows, vectors.shape(0));
    check_rows(taken, vectors.shape(0), "taken");
    py::array_t<float> cross({rows.size(), kCrosses});
    float* out = cross.mutable_data();
    const Unlocked unlocked;
    cross_features({vectors.data(), vectors.shape(1), query ? query->data() : nullptr, taken.data(),
                    taken.size(), recent, near.table, learnt_as ? learnt_as->data() : nullptr},
                   rows.data(), rows.size(), out);
    return cross;
}

}  // namespace

void bind_taste(py::module_& module) {
    using py::arg;
    module.def("affinities", affinities_of, arg("rows"), arg("weights"), arg("history"),
               arg("asked"));
    module.def("affine_rows", affine_to, arg("rows"), arg("weights"), arg("history"));
    module.def("user_features", features_of, arg("rows"), arg("times"), arg("positive"), arg("now"),
               arg("recent"), arg("item_fields"), arg("popularity"), arg("tail"));
    module.def("cross_features", crossed, arg("vectors"), arg("rows"), arg("query"), arg("taken"),
               arg("recent"), arg("near_rows"), arg("near_weights"), arg("learnt_as"));
}

}  // namespace tamis
