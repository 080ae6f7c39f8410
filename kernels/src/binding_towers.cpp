// The towers and the sides of a model, bound together with the arrays that they point into.

#include "arguments.h"
#include "bindings.h"
#include "deepfm_side.h"
#include "narrow.h"
#include "query_tower.h"

namespace tamis {
namespace {

using Unlocked = py::gil_scoped_release;

py::array_t<Half> halved(py::handle values_object) {
    const Array<float> values("values", values_object, 2, Alignment::any);
    py::array_t<Half> out({values.shape(0), values.shape(1)});
    Half* to = out.mutable_data();
    const Unlocked unlocked;
    narrow(values.data(), values.size(), to);
    return out;
}

class BoundQueryTower {
public:
    BoundQueryTower(py::handle history_table, py::handle seeds, py::handle kind_bias,
                    py::handle recency_bias, py::handle kind_weight, py::handle heard,
                    py::handle context_table, py::handle w_context, py::handle skip, py::handle w1,
                    py::handle b1, py::handle w2, py::handle b2)
        : history_table_("history_table", history_table, 2, Alignment::any),
          seeds_("seeds", seeds, 2),
          kind_bias_("kind_bias", kind_bias, 2),
          recency_bias_("recency_bias", recency_bias, 2),
          kind_weight_("kind_weight", kind_weight, 1),
          heard_("heard", heard, 1),
          context_table_("context_table", context_table, 2),
          w_context_("w_context", w_context, 2),
          skip_("skip", skip, 2),
          w1_("w1", w1, 2),
          b1_("b1", b1, 1),
          w2_("w2", w2, 2),
          b2_("b2", b2, 1),
          tower_(checked_weights()) {}

    py::array_t<float> encode(py::handle rows_object, py::handle kinds_object,
                              py::handle context_object) const {
        const QueryTowerWeights& w = tower_.weights();
        const Array<std::int32_t> rows("rows", rows_object, 1);
        const Array<std::uint8_t> kinds("kinds", kinds_object, 1);
        const Array<std::int32_t> context("context", context_object, 1);
        kinds.check_length(rows.size());
        check_below(rows, w.items, "rows");
        check_below(kinds, w.kinds, "kinds");
        check_rows(context, w.slots, "context");
        auto query = empty<float>(w.dims);
        float* out = query.mutable_data();
        const Unlocked unlocked;
        tower_.encode({rows.data(), kinds.data(), rows.size(), context.data(), context.size()}, out);
        return query;
    }

private:
    QueryTowerWeights checked_weights() const {
        QueryTowerWeights w{};
        w.items = history_table_.shape(0);
        w.width = history_table_.shape(1);
        w.heads = seeds_.check_length(w.width).shape(1);
        w.kinds = kind_bias_.check_length(w.heads, 1).shape(0);
        w.length = recency_bias_.check_length(w.heads, 1).shape(0);
        w.slots = context_table_.check_length(w.width, 1).shape(0);
        w.hidden = w_context_.check_length(w.width).shape(1);
        w.dims = skip_.check_length(w.heads * w.width).shape(1);
        w.history_table = history_table_.data();
        w.seeds = seeds_.data();
        w.kind_bias = kind_bias_.data();
        w.recency_bias = recency_bias_.data();
        w.kind_weight = kind_weight_.check_length(w.kinds).data();
        w.heard = heard_.check_length(w.kinds).data();
        w.context_table = context_table_.data();
        w.w_context = w_context_.data();
        w.skip = skip_.data();
        w.w1 = w1_.check_length(w.heads * w.width).check_length(w.hidden, 1).data();
        w.b1 = b1_.check_length(w.hidden).data();
        w.w2 = w2_.check_length(w.hidden).check_length(w.dims, 1).data();
        w.b2 = b2_.check_length(w.dims).data();
        return w;
    }

    Array<Half> history_table_;
    Array<float> seeds_, kind_bias_, recency_bias_, kind_weight_;
    Array<bool> heard_;
    Array<float> context_table_, w_context_, skip_, w1_, b1_, w2_, b2_;
    QueryTower tower_;
};

class BoundDeepFMSide {
public:
    BoundDeepFMSide(py::handle embedding, py::handle linear, py::handle dense_linear,
                    py::handle w1, py::handle b1, std::size_t fields)
        : embedding_("embedding", embedding, 2),
          linear_("linear", linear, 1),
          dense_linear_("dense_linear", dense_linear, 1),
          w1_("w1", w1, 2),
          b1_("b1", b1, 1),
          weights_(checked_weights(fields)) {}

    py::tuple parts(py::handle slots_object, py::handle dense_object) const {
        const DeepFMSideWeights& w = weights_;
        const Array<std::int32_t> slots("slots", slots_object, 2);
        const Array<float> dense("dense", dense_object, 2);
        slots.check_length(w.fields, 1);
        dense.check_length(slots.shape(0)).check_length(w.dense, 1);
        check_rows(slots, w.slots, "slots");
        const std::size_t count = slots.shape(0);
        py::array_t<float> hidden({count, w.hidden}), factors({count, w.factors});
        auto bias = empty<float>(count);
        const DeepFMParts out{hidden.mutable_data(), factors.mutable_data(), bias.mutable_data()};
        {
            const Unlocked unlocked;
            deepfm_parts(w, slots.data(), dense.data(), count, out);
        }
        return py::make_tuple(std::move(hidden), std::move(factors), std::move(bias));
    }

private:
    DeepFMSideWeights checked_weights(std::size_t fields) const {
        DeepFMSideWeights w{};
        w.fields = fields;
        w.slots = embedding_.shape(0);
        w.factors = embedding_.shape(1);
        w.dense = dense_linear_.size();
        w.hidden = w1_.check_length(fields * w.factors + w.dense).shape(1);
        w.embedding = embedding_.data();
        w.linear = linear_.check_length(w.slots).data();
        w.dense_linear = dense_linear_.data();
        w.w1 = w1_.data();
        w.b1 = b1_.check_length(w.hidden).data();
        return w;
    }

    Array<float> embedding_, linear_, dense_linear_, w1_, b1_;
    DeepFMSideWeights weights_;
};

}  // namespace

void bind_towers(py::module_& module) {
    using py::arg;
    py::class_<BoundQueryTower>(module, "QueryTower")
        .def(py::init<py::handle, py::handle, py::handle, py::handle, py::handle, py::handle,
                      py::handle, py::handle, py::handle, py::handle, py::handle, py::handle,
                      py::handle>(),
             arg("history_table"), arg("seeds"), arg("kind_bias"), arg("recency_bias"),
             arg("kind_weight"), arg("heard"), arg("context_table"), arg("w_context"), arg("skip"),
             arg("w1"), arg("b1"), arg("w2"), arg("b2"))
        .def("encode", &BoundQueryTower::encode, arg("rows"), arg("kinds"), arg("context"));
    py::class_<BoundDeepFMSide>(module, "DeepFMSide")
        .def(py::init<py::handle, py::handle, py::handle, py::handle, py::handle, std::size_t>(),
             arg("embedding"), arg("linear"), arg("dense_linear"), arg("w1"), arg("b1"),
             arg("fields"))
        .def("parts", &BoundDeepFMSide::parts, arg("slots"), arg("dense"));
    module.def("halved", halved, arg("values"));
}

}  // namespace tamis
