// Choosing among candidates, and bringing lists of them together.

#include <algorithm>
#include <vector>

#include "arguments.h"
#include "bindings.h"
#include "merge.h"
#include "select.h"
#include "top_k.h"

namespace tamis {
namespace {

using Unlocked = py::gil_scoped_release;
using Rows = Array<std::int32_t>;

py::array_t<std::int32_t> select_rows(py::handle bits_object, py::handle rows_object, bool wanted) {
    const Array<std::uint64_t> bits("bits", bits_object, 1);
    const Rows rows("rows", rows_object, 1);
    auto positions = empty<std::int32_t>(rows.size());
    std::int32_t* out = positions.mutable_data();
    std::size_t count = 0;
    {
        const Unlocked unlocked;
        count = select(bits.data(), bits.size(), rows.data(), rows.size(), wanted, out);
    }
    return first(std::move(positions), count);
}

py::array_t<std::int32_t> best_positions(py::handle scores_object, py::handle rows_object,
                                         std::int64_t k) {
    const Array<float> scores("scores", scores_object, 1);
    const Rows rows("rows", rows_object, 1);
    rows.check_length(scores.size());
    auto positions = empty<std::int32_t>(std::min(checked_k(k), rows.size()));
    std::int32_t* out = positions.mutable_data();
    const auto count = static_cast<std::size_t>(positions.size());
    const Unlocked unlocked;
    top_k(scores.data(), rows.data(), rows.size(), count, out);
    return positions;
}

py::tuple best_and_scaled(py::handle scores_object, py::handle rows_object, std::int64_t k) {
    const Array<float> scores("scores", scores_object, 1);
    const Rows rows("rows", rows_object, 1);
    rows.check_length(scores.size());
    const std::size_t count = std::min(checked_k(k), rows.size());
    auto positions = empty<std::int32_t>(count);
    auto scaled = empty<float>(count);
    std::int32_t* out = positions.mutable_data();
    float* scaled_out = scaled.mutable_data();
    {
        const Unlocked unlocked;
        best_scaled(scores.data(), rows.data(), rows.size(), count, out, scaled_out);
    }
    return py::make_tuple(std::move(positions), std::move(scaled));
}

std::size_t checked_count(const py::sequence& rows) {
    const std::size_t count = rows.size();
    if (count > kMaxLists)
        throw py::value_error("rows: at most " + std::to_string(kMaxLists) +
                              " lists are allowed, got " + std::to_string(count));
    return count;
}

void check_as_many(const char* name, const py::sequence& given, std::size_t count) {
    if (given.size() != count)
        throw py::value_error(std::string(name) + ": " + std::to_string(count) +
                              " are needed, as in rows, got " + std::to_string(given.size()));
}

py::tuple fused(const py::sequence& row_lists, const py::sequence& weights,
                const py::sequence& sources, float damping) {
    const std::size_t count = checked_count(row_lists);
    check_as_many("weights", weights, count);
    check_as_many("sources", sources, count);
    std::vector<Rows> rows;
    std::vector<RankedList> lists;
    std::size_t total = 0;
    for (std::size_t s = 0; s < count; ++s) {
        rows.emplace_back(Name("rows", s), py::object(row_lists[s]), 1);
        const auto source = py::cast<std::int64_t>(sources[s]);
        if (source < 0 || source > 31)
            throw py::value_error(Name("sources", s).str() + " is " + std::to_string(source) +
                                  ", allowed are 0 to 31");
        lists.push_back({rows.back().data(), rows.back().size(), py::cast<float>(weights[s]),
                         std::uint32_t{1} << source});
        total += rows.back().size();
    }
    auto merged_rows = empty<std::int32_t>(total);
    auto merged_scores = empty<float>(total);
    auto merged_sources = empty<std::uint32_t>(total);
    std::int32_t* rows_out = merged_rows.mutable_data();
    float* scores_out = merged_scores.mutable_data();
    std::uint32_t* sources_out = merged_sources.mutable_data();
    std::size_t distinct = 0;
    {
        const Unlocked unlocked;
        distinct = fuse_ranks(lists.data(), count, damping, rows_out, scores_out, sources_out);
    }
    return py::make_tuple(first(std::move(merged_rows), distinct),
                          first(std::move(merged_scores), distinct),
                          first(std::move(merged_sources), distinct));
}

py::tuple best_rows(const py::sequence& row_lists, const py::sequence& score_lists,
                    py::handle without_object) {
    const std::size_t count = checked_count(row_lists);
    check_as_many("scores", score_lists, count);
    const Rows without("without", without_object, 1);
    std::vector<Rows> rows;
    std::vector<Array<float>> scores;
    std::vector<ScoredList> lists;
    std::size_t total = 0;
    for (std::size_t s = 0; s < count; ++s) {
        rows.emplace_back(Name("rows", s), py::object(row_lists[s]), 1);
        scores.emplace_back(Name("scores", s), py::object(score_lists[s]), 1);
        scores.back().check_length(rows.back().size());
        lists.push_back({rows.back().data(), scores.back().data(), rows.back().size()});
        total += rows.back().size();
    }
    auto best = empty<std::int32_t>(total);
    auto best_scores = empty<float>(total);
    std::int32_t* rows_out = best.mutable_data();
    float* scores_out = best_scores.mutable_data();
    std::size_t distinct = 0;
    {
        const Unlocked unlocked;
        distinct = best_of(lists.data(), count, without.data(), without.size(), rows_out,
                           scores_out);
    }
    return py::make_tuple(first(std::move(best), distinct),
                          first(std::move(best_scores), distinct));
}

}  // namespace

void bind_candidates(py::module_& module) {
    using py::arg;
    module.def("select", select_rows, arg("bits"), arg("rows"), arg("wanted"));
    module.def("top_k", best_positions, arg("scores"), arg("rows"), arg("k"));
    module.def("best_scaled", best_and_scaled, arg("scores"), arg("rows"), arg("k"));
    module.def("fuse_ranks", fused, arg("rows"), arg("weights"), arg("sources"), arg("damping"));
    module.def("best_of", best_rows, arg("rows"), arg("scores"), arg("without"));
}

}  // namespace tamis
