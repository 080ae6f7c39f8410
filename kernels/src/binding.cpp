// tamis_kernels._native: checks the arguments, releases the interpreter lock, calls the kernel.
// Shapes, dtypes and errors are documented on the public functions in tamis_kernels/__init__.py.

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "arguments.h"
#include "bindings.h"
#include "bloom.h"
#include "deepfm.h"
#include "dot_rows.h"
#include "hnsw.h"
#include "ivf.h"
#include "level.h"
#include "scan.h"
#include "slate.h"
#include "xxh64.h"

namespace {

using namespace tamis;
using Unlocked = py::gil_scoped_release;

constexpr std::array<const char*, 3> kLevelNames = {"scalar", "avx2", "avx512"};

py::tuple available_levels() {
    const auto count = static_cast<std::size_t>(best_level()) + 1;
    py::tuple names(count);
    for (std::size_t i = 0; i < count; ++i) names[i] = kLevelNames[i];
    return names;
}

void set_level(const std::string& name) {
    for (std::size_t i = 0; i <= static_cast<std::size_t>(best_level()); ++i)
        if (name == kLevelNames[i]) return set_active_level(static_cast<Level>(i));
    throw py::value_error("level '" + name + "' is unknown or cannot run here");
}

py::array_t<std::uint64_t> hash_slices(py::handle data_object, py::handle offsets_object) {
    const Array<std::uint8_t> data("data", data_object, 1);
    const Array<std::int64_t> offsets("offsets", offsets_object, 1);
    if (offsets.size() == 0)
        throw py::value_error("offsets: one more entry than slices is needed, got 0");
    const std::int64_t* offset = offsets.data();
    const std::size_t count = offsets.size() - 1;
    if (offset[0] < 0 || !std::is_sorted(offset, offset + count + 1) ||
        static_cast<std::size_t>(offset[count]) > data.size())
        throw py::value_error("offsets: must ascend from 0 or more to at most " +
                              std::to_string(data.size()));
    auto hashes = empty<std::uint64_t>(count);
    std::uint64_t* out = hashes.mutable_data();
    const Unlocked unlocked;
    for (std::size_t i = 0; i < count; ++i)
        out[i] = xxh64(data.data() + offset[i], static_cast<std::size_t>(offset[i + 1] - offset[i]));
    return hashes;
}

void insert_keys(py::handle blocks_object, py::handle keys_object) {
    Array<std::uint32_t> blocks("blocks", blocks_object, 2, Alignment::any);
    blocks.check_length(8, 1);
    const Array<std::uint64_t> keys("keys", keys_object, 1);
    std::uint32_t* words = blocks.writable();
    if (keys.size() > 0 && blocks.size() == 0)
        throw py::value_error("blocks: at least one block is needed to insert into, got 0");
    const Unlocked unlocked;
    bloom_insert(words, blocks.shape(0), keys.data(), keys.size());
}

py::array_t<std::int32_t> absent_keys(const py::sequence& filters_object, py::handle keys_object) {
    const std::size_t given = filters_object.size();
    std::vector<Array<std::uint32_t>> arrays;
    std::vector<BloomFilter> filters;
    arrays.reserve(given);
    filters.reserve(given);
    for (std::size_t i = 0; i < given; ++i) {
        arrays.emplace_back(Name("filters", i), py::object(filters_object[i]), 2, Alignment::any);
        const auto& blocks = arrays.back().check_length(8, 1);
        // one without blocks holds nothing
        if (blocks.shape(0) > 0) filters.push_back({blocks.data(), blocks.shape(0)});
    }
    const Array<std::uint64_t> keys("keys", keys_object, 1);
    auto positions = empty<std::int32_t>(keys.size());
    std::int32_t* out = positions.mutable_data();
    std::size_t count = 0;
    {
        const Unlocked unlocked;
        count = bloom_absent(filters.data(), filters.size(), keys.data(), keys.size(), out);
    }
    return first(std::move(positions), count);
}

py::array_t<float> row_products(py::handle vectors_object, py::handle rows_object,
                                py::handle queries_object) {
    const Array<float> vectors("vectors", vectors_object, 2, Alignment::any);
    const Array<std::int32_t> rows("rows", rows_object, 1);
    const Array<float> queries("queries", queries_object, 2);
    queries.check_length(vectors.shape(1), 1);
    check_rows(rows, vectors.shape(0));
    py::array_t<float> products({rows.size(), queries.shape(0)});
    float* out = products.mutable_data();
    const Unlocked unlocked;
    dot_rows(vectors.data(), vectors.shape(1), rows.data(), rows.size(), queries.data(),
             queries.shape(0), out);
    return products;
}

using Bits = std::optional<Array<std::uint64_t>>;

Bits optional_bits(py::handle object) {
    Bits bits;
    if (!object.is_none()) bits.emplace("bits", object, 1);
    return bits;
}

Bits checked_bits(py::handle object, std::size_t words) {
    Bits bits = optional_bits(object);
    if (bits && bits->size() < words)
        throw py::value_error("bits: at least " + std::to_string(words) +
                              " words are needed, got " + std::to_string(bits->size()));
    return bits;
}

py::tuple scan_rows(py::handle vectors_object, py::handle bits_object, py::handle queries_object,
                    std::int64_t k) {
    const Array<float> vectors("vectors", vectors_object, 2, Alignment::any);
    const Bits bits = optional_bits(bits_object);
    const Array<float> queries("queries", queries_object, 2);
    queries.check_length(vectors.shape(1), 1);
    const std::size_t count = queries.shape(0), each = checked_k(k);
    py::array_t<std::int32_t> rows({count, each});
    py::array_t<float> scores({count, each});
    std::int32_t* rows_out = rows.mutable_data();
    float* scores_out = scores.mutable_data();
    {
        const Unlocked unlocked;
        scan({vectors.data(), vectors.shape(0), vectors.shape(1), bits ? bits->data() : nullptr,
              bits ? bits->size() : 0},
             queries.data(), count, each, rows_out, scores_out);
    }
    return py::make_tuple(std::move(rows), std::move(scores));
}

using Choice = void (*)(const SlateCandidates&, std::size_t, double, std::int32_t*);

template <Choice kChoose>
py::array_t<std::int32_t> diverse_positions(py::handle vectors_object, py::handle rows_object,
                                            py::handle relevance_object, std::int64_t k,
                                            double trade_off) {
    const Array<float> vectors("vectors", vectors_object, 2, Alignment::any);
    const Array<std::int32_t> rows("rows", rows_object, 1);
    const Array<float> relevance("relevance", relevance_object, 1);
    relevance.check_length(rows.size());
    const std::size_t count = std::min(checked_k(k), rows.size());
    check_rows(rows, vectors.shape(0));
    if (!(trade_off >= 0 && trade_off <= 1))
        throw py::value_error("trade_off must be between 0 and 1, got " +
                              std::string(py::str("{:g}").format(trade_off)));
    auto positions = empty<std::int32_t>(count);
    std::int32_t* out = positions.mutable_data();
    const Unlocked unlocked;
    kChoose({vectors.data(), vectors.shape(1), rows.data(), relevance.data(), rows.size()}, count,
        trade_off, out);
    return positions;
}

// A model together with the arrays that it points into.
class BoundDeepFM {
public:
    BoundDeepFM(py::handle item_hidden, py::handle item_factors, py::handle item_bias,
                py::handle cross_hidden, py::handle cross_linear, py::handle w2, py::handle b2,
                py::handle w3, py::handle b3, py::handle w_out, py::handle wide,
                py::handle bias, bool int8)
        : item_hidden_("item_hidden", item_hidden, 2),
          item_factors_("item_factors", item_factors, 2),
          item_bias_("item_bias", item_bias, 1, Alignment::any),
          cross_hidden_("cross_hidden", cross_hidden, 2),
          cross_linear_("cross_linear", cross_linear, 1),
          w2_("w2", w2, 2),
          b2_("b2", b2, 1),
          w3_("w3", w3, 2),
          b3_("b3", b3, 1),
          w_out_("w_out", w_out, 2),
          wide_("wide", wide, 1),
          bias_("bias", bias, 1),
          model_(checked_weights(), int8 ? Arithmetic::int8 : Arithmetic::f32) {}

    py::array_t<float> score(py::handle user_hidden_object, py::handle user_factors_object,
                             float user_bias, py::handle rows_object,
                             py::handle cross_object) const {
        const DeepFMWeights& w = model_.weights();
        const Array<float> user_hidden("user_hidden", user_hidden_object, 1);
        const Array<float> user_factors("user_factors", user_factors_object, 1);
        const Array<std::int32_t> rows("rows", rows_object, 1);
        const Array<float> cross("cross", cross_object, 2);
        user_hidden.check_length(w.hidden1);
        user_factors.check_length(w.factors);
        cross.check_length(rows.size()).check_length(w.crosses, 1);
        check_rows(rows, w.items);
        py::array_t<float> probabilities({static_cast<py::ssize_t>(rows.size()),
                                          static_cast<py::ssize_t>(w.heads)});
        float* out = probabilities.mutable_data();
        const Unlocked unlocked;
        model_.score({user_hidden.data(), user_factors.data(), user_bias}, rows.data(),
                     cross.data(), rows.size(), out);
        return probabilities;
    }

private:
    DeepFMWeights checked_weights() const {
        if (item_hidden_.half() != item_factors_.half())
            throw py::type_error("item_factors: the dtype of item_hidden is needed");
        DeepFMWeights w{};
        w.cell = item_hidden_.half() ? Cell::f16 : Cell::f32;
        w.items = item_hidden_.shape(0);
        w.hidden1 = item_hidden_.shape(1);
        w.factors = item_factors_.check_length(w.items).shape(1);
        w.crosses = cross_hidden_.check_length(w.hidden1, 1).shape(0);
        w.hidden2 = w2_.check_length(w.hidden1).shape(1);
        w.hidden3 = w3_.check_length(w.hidden2).shape(1);
        w.item_hidden = item_hidden_.data();
        w.item_factors = item_factors_.data();
        w.item_bias = item_bias_.check_length(w.items).data();
        w.cross_hidden = cross_hidden_.data();
        w.cross_linear = cross_linear_.check_length(w.crosses).data();
        w.w2 = w2_.data();
        w.b2 = b2_.check_length(w.hidden2).data();
        w.w3 = w3_.data();
        w.b3 = b3_.check_length(w.hidden3).data();
        w.heads = w_out_.check_length(w.hidden3, 1).shape(0);
        w.w_out = w_out_.data();
        w.wide = wide_.check_length(w.heads).data();
        w.bias = bias_.check_length(w.heads).data();
        return w;
    }

    Cells item_hidden_, item_factors_;
    Array<float> item_bias_, cross_hidden_, cross_linear_;
    Array<float> w2_, b2_, w3_, b3_, w_out_, wide_, bias_;
    DeepFM model_;
};

// A graph together with the vectors that it points to.
class BoundHnswGraph {
public:
    BoundHnswGraph(const std::string& path, py::handle vectors)
        : vectors_("vectors", vectors, 2, Alignment::any), graph_(opened(path)) {}

    std::size_t size() const { return graph_->size(); }

    void save(const std::string& path) const {
        file_call(path, [&] { graph_->save(path); });
    }

    py::tuple search(py::handle queries_object, std::int64_t k, std::int64_t ef,
                     py::handle bits_object, std::int64_t widest) const {
        const Array<float> queries("queries", queries_object, 2);
        queries.check_length(graph_->dims(), 1);
        if (ef < 1) throw py::value_error("ef must be 1 or more, got " + std::to_string(ef));
        if (widest < 0)
            throw py::value_error("widest must be 0 or more, got " + std::to_string(widest));
        const Bits bits = checked_bits(bits_object, graph_->words());
        const std::size_t count = queries.shape(0), each = checked_k(k);
        py::array_t<std::int32_t> rows({count, each});
        py::array_t<float> scores({count, each});
        std::int32_t* rows_out = rows.mutable_data();
        float* scores_out = scores.mutable_data();
        {
            const Unlocked unlocked;
            graph_->search(queries.data(), count, each, static_cast<std::size_t>(ef),
                           widest == 0 ? graph_->size() : static_cast<std::size_t>(widest),
                           bits ? bits->data() : nullptr, rows_out, scores_out);
        }
        return py::make_tuple(std::move(rows), std::move(scores));
    }

    py::tuple scan(py::handle queries_object, std::int64_t k, py::handle bits_object) const {
        const Array<float> queries("queries", queries_object, 2);
        queries.check_length(graph_->dims(), 1);
        const Bits bits = checked_bits(bits_object, graph_->words());
        const std::size_t count = queries.shape(0), each = checked_k(k);
        py::array_t<std::int32_t> rows({count, each});
        py::array_t<float> scores({count, each});
        std::int32_t* rows_out = rows.mutable_data();
        float* scores_out = scores.mutable_data();
        {
            const Unlocked unlocked;
            graph_->scan(queries.data(), count, each, bits ? bits->data() : nullptr, rows_out,
                         scores_out);
        }
        return py::make_tuple(std::move(rows), std::move(scores));
    }

private:
    std::unique_ptr<HnswGraph> opened(const std::string& path) const {
        std::unique_ptr<HnswGraph> graph;
        file_call(path, [&] {
            graph = std::make_unique<HnswGraph>(path, vectors_.data(), vectors_.shape(0),
                                                vectors_.shape(1));
        });
        return graph;
    }

    template <class Call>
    static void file_call(const std::string& path, const Call& call) {
        try {
            const Unlocked unlocked;
            call();
        } catch (const std::system_error& error) {
            errno = error.code().value();
            PyErr_SetFromErrnoWithFilename(PyExc_OSError, path.c_str());
            throw py::error_already_set();
        }
    }

    Array<float> vectors_;
    std::unique_ptr<HnswGraph> graph_;
};

// Lists together with the vectors that they point to.
class BoundIvfIndex {
public:
    BoundIvfIndex(py::handle centroids, py::handle starts, py::handle rows, py::handle vectors)
        : vectors_("vectors", vectors, 2, Alignment::any), index_(built(centroids, starts, rows)) {}

    std::size_t size() const { return index_->size(); }

    py::tuple search(py::handle queries_object, std::int64_t k, std::int64_t scanned,
                     py::handle bits_object, double reach) const {
        const Array<float> queries("queries", queries_object, 2);
        queries.check_length(index_->dims(), 1);
        if (scanned < 1)
            throw py::value_error("scanned must be 1 or more, got " + std::to_string(scanned));
        if (!(reach >= 0))
            throw py::value_error("reach must be 0 or more, got " + std::to_string(reach));
        const Bits bits = checked_bits(bits_object, index_->words());
        const std::size_t count = queries.shape(0), each = checked_k(k);
        py::array_t<std::int32_t> rows({count, each});
        py::array_t<float> scores({count, each});
        std::int32_t* rows_out = rows.mutable_data();
        float* scores_out = scores.mutable_data();
        {
            const Unlocked unlocked;
            index_->search(queries.data(), count, each, static_cast<std::size_t>(scanned), reach,
                           bits ? bits->data() : nullptr, rows_out, scores_out);
        }
        return py::make_tuple(std::move(rows), std::move(scores));
    }

private:
    std::unique_ptr<IvfIndex> built(py::handle centroids_object, py::handle starts_object,
                                    py::handle rows_object) const {
        const Array<float> centroids("centroids", centroids_object, 2);
        const Array<std::int64_t> starts("starts", starts_object, 1);
        const Array<std::int32_t> rows("rows", rows_object, 1);
        centroids.check_length(vectors_.shape(1), 1);
        starts.check_length(centroids.shape(0) + 1);
        const Unlocked unlocked;
        const std::int64_t* start = starts.data();
        const std::size_t lists = centroids.shape(0);
        if (start[0] != 0 || !std::is_sorted(start, start + lists + 1) ||
            static_cast<std::size_t>(start[lists]) != rows.size())
            throw py::value_error("starts: must ascend from 0 to the " +
                                  std::to_string(rows.size()) + " rows");
        check_rows(rows, vectors_.shape(0));
        std::vector<bool> met(vectors_.shape(0));
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto row = static_cast<std::size_t>(rows.data()[i]);
            if (met[row]) throw py::value_error("rows: " + std::to_string(row) + " is there twice");
            met[row] = true;
        }
        return std::make_unique<IvfIndex>(centroids.data(), lists, start, rows.data(),
                                          vectors_.data(), vectors_.shape(1));
    }

    Array<float> vectors_;
    std::unique_ptr<IvfIndex> index_;
};

}  // namespace

PYBIND11_MODULE(_native, module) {
    using py::arg;
    module.def("available_levels", available_levels);
    module.def("set_level", set_level, arg("name"));
    module.def("xxh64", hash_slices, arg("data"), arg("offsets"));
    module.def("bloom_insert", insert_keys, arg("blocks"), arg("keys"));
    module.def("bloom_absent", absent_keys, arg("filters"), arg("keys"));
    module.def("dot_rows", row_products, arg("vectors"), arg("rows"), arg("queries"));
    module.def("scan", scan_rows, arg("vectors"), arg("bits"), arg("queries"), arg("k"));
    module.def("mmr", diverse_positions<mmr>, arg("vectors"), arg("rows"), arg("relevance"),
               arg("k"), arg("trade_off"));
    module.def("dpp", diverse_positions<dpp>, arg("vectors"), arg("rows"), arg("relevance"),
               arg("k"), arg("trade_off"));
    py::class_<BoundDeepFM>(module, "DeepFM")
        .def(py::init<py::handle, py::handle, py::handle, py::handle, py::handle, py::handle,
                      py::handle, py::handle, py::handle, py::handle, py::handle, py::handle, bool>(),
             arg("item_hidden"), arg("item_factors"), arg("item_bias"), arg("cross_hidden"),
             arg("cross_linear"), arg("w2"), arg("b2"), arg("w3"), arg("b3"), arg("w_out"),
             arg("wide"), arg("bias"), arg("int8"))
        .def("score", &BoundDeepFM::score, arg("user_hidden"), arg("user_factors"),
             arg("user_bias"), arg("rows"), arg("cross"));
    py::class_<BoundHnswGraph>(module, "HnswGraph")
        .def(py::init<const std::string&, py::handle>(), arg("path"), arg("vectors"))
        .def_property_readonly("size", &BoundHnswGraph::size)
        .def("save", &BoundHnswGraph::save, arg("path"))
        .def("scan", &BoundHnswGraph::scan, arg("queries"), arg("k"), arg("bits"))
        .def("search", &BoundHnswGraph::search, arg("queries"), arg("k"), arg("ef"), arg("bits"),
             arg("widest"));
    py::class_<BoundIvfIndex>(module, "IvfIndex")
        .def(py::init<py::handle, py::handle, py::handle, py::handle>(), arg("centroids"),
             arg("starts"), arg("rows"), arg("vectors"))
        .def_property_readonly("size", &BoundIvfIndex::size)
        .def("search", &BoundIvfIndex::search, arg("queries"), arg("k"), arg("scanned"), arg("bits"),
             arg("reach"));
    bind_candidates(module);
    bind_lookups(module);
    bind_records(module);
    bind_taste(module);
    bind_towers(module);
}
