#include "ivf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "codes.h"
#include "dot_rows.h"
#include "ranked.h"
#include "residual.h"

#define TAMIS_BODY "../src/ivf.inl"
#include "each_tier.h"

namespace tamis {
namespace {

std::size_t blocks_of(std::size_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

// Codes of 8 bits [groups * 4] into their place in a block.
void place(const std::uint8_t* codes, std::size_t groups, std::size_t slot, std::uint8_t* block) {
    for (std::size_t g = 0; g < groups; ++g)
        std::memcpy(block + (g * kBlockRows + slot) * 4, codes + g * 4, 4);
}

// A row and its levels [groups * 4] into their place in a block.
void place(std::int32_t row, const std::uint8_t* levels, std::size_t groups, std::size_t slot,
           std::uint8_t* block) {
    std::memcpy(block + slot * sizeof row, &row, sizeof row);
    std::uint8_t* codes = block + (sizeof row * kBlockRows + slot * 4);
    for (std::size_t g = 0; g < groups; g += 2, levels += 8, codes += kBlockRows * 4)
        for (std::size_t d = 0; d < 4; ++d)
            codes[d] = static_cast<std::uint8_t>(levels[d] | levels[4 + d] << 4);
}

void prefetch_row(const float* vectors, std::int32_t row, std::size_t dims) {
    const float* from = vectors + static_cast<std::size_t>(row) * dims;
    for (std::size_t d = 0; d < dims; d += 16) __builtin_prefetch(from + d);
}

// 127 codes to the largest number; NaN counts as 0.
IvfQuery encode_query(const float* query, std::size_t dims, std::size_t groups, std::int8_t* codes,
                      std::int16_t* pairs) {
    float most = 0;
    for (std::size_t d = 0; d < dims; ++d) {
        const float size = std::fabs(query[d]);
        most = size > most ? size : most;
    }
    const float scale = most > 1e-30f ? 127 / most : 0;
    std::int32_t sum = 0;
    std::int64_t squares = 0;
    for (std::size_t d = 0; d < groups * 4; ++d) {
        const float scaled = d < dims ? query[d] * scale : 0;
        codes[d] = static_cast<std::int8_t>(scaled == scaled ? std::rint(scaled) : 0);
        pairs[d / 4 * 4 + d % 2 * 2 + d % 4 / 2] = codes[d];
        sum += codes[d];
        squares += codes[d] * codes[d];
    }
    // levels span three standard deviations to either side
    const double spread = std::sqrt(static_cast<double>(squares)) * kResidualLevels / 6;
    return {codes, pairs, sum, static_cast<std::int32_t>(spread)};
}

// What the levels of a row without a residual add to its product, twice: they are cut off, so that
// each stands for what lies half of one above it.
std::int32_t twice_middle(const IvfQuery& query) { return query.sum * (kResidualLevels - 1); }

// More than are asked for: what codes take for worse by a little may be better.
std::size_t kept(std::size_t k) { return k + k / 2 + 64; }

// All but the best `keep` are left out.
void cut(IvfHits& hits, std::size_t keep) {
    if (hits.count <= keep) return;
    std::nth_element(hits.entries, hits.entries + keep - 1, hits.entries + hits.count);
    hits.count = keep;
    hits.least = product_of(static_cast<std::uint32_t>(hits.entries[keep - 1] >> 32));
}

// Which classes the best of the hits are in, as more come.
class Standing {
public:
    // Of what was taken since the last time, `taken`; lets nothing in from now on that is surely
    // not among the best `keep`.
    void update(IvfHits& hits, std::size_t taken, std::size_t keep) {
        within_ += taken;
        const std::uint32_t before = last_;
        lower(hits, keep, last_, within_);
        if (last_ < before) hits.least = std::max(hits.least, hits.least_of(last_));
    }

    // A product that the best k reach and next to none more; the least there is while it is not known.
    std::int32_t reached_by(const IvfHits& hits, std::size_t k) const {
        std::uint32_t number = last_;
        std::size_t within = within_;
        lower(hits, k, number, within);
        return within < k || number == IvfHits::kClasses - 1 ? std::numeric_limits<std::int32_t>::min()
                                                             : hits.least_of(number);
    }

private:
    static void lower(const IvfHits& hits, std::size_t enough, std::uint32_t& number,
                      std::size_t& within) {
        for (; number > 0 && within >= enough + hits.classes[number]; --number)
            within -= hits.classes[number];
    }

    std::uint32_t last_ = IvfHits::kClasses - 1;  // the class that the worst of the best are in
    std::size_t within_ = 0;                      // hits in that one and in better ones
};

// Lists by their products, best first, as far as they are asked for: put into classes at once, and
// each class in order when it is come to.
class ListOrder {
public:
    // classes [lists]: of `classes_of`.
    ListOrder(const std::int32_t* products, const std::uint8_t* classes, std::size_t lists,
              std::uint64_t* entries)
        : entries_(entries) {
        for (std::size_t list = 0; list < lists; ++list) ++end_[classes[list]];
        for (std::size_t c = 1; c < kClasses; ++c) end_[c] += end_[c - 1];
        for (std::size_t list = lists; list-- > 0;)  // ends become starts: those of the next class
            entries[--end_[classes[list]]] =
                std::uint64_t{0x7fffffffu - static_cast<std::uint32_t>(products[list])} << 32 | list;
        end_[kClasses] = lists;
    }

    // How many lists from the best on are in order; called when all of them have been looked into.
    std::size_t more() {
        const std::size_t begin = end_[next_];
        while (next_ < kClasses && end_[next_ + 1] == begin) ++next_;
        if (next_ == kClasses) return begin;
        ++next_;
        std::sort(entries_ + begin, entries_ + end_[next_]);
        return end_[next_];
    }

private:
    static constexpr std::size_t kClasses = 256;

    std::uint64_t* entries_;
    std::size_t end_[kClasses + 1] = {}, next_ = 0;
};

std::int32_t row_of(std::uint64_t entry) { return static_cast<std::int32_t>(entry & 0xffffffffu); }

// What a step of the residuals of some of the rows should be. centroids [lists][dims]: as decoded.
float step_of(const float* centroids, std::size_t lists, const std::int64_t* starts,
              const std::int32_t* rows, const float* vectors, std::size_t dims) {
    constexpr std::size_t kSample = 16'384;
    const auto size = static_cast<std::size_t>(starts[lists]);
    const std::size_t stride = size / kSample + 1;
    std::vector<float> residuals;
    residuals.reserve((size / stride + 1) * dims);
    for (std::size_t i = 0, list = 0; i < size; i += stride) {
        while (static_cast<std::size_t>(starts[list + 1]) <= i) ++list;
        const float* row = vectors + static_cast<std::size_t>(rows[i]) * dims;
        for (std::size_t d = 0; d < dims; ++d) {
            float number;
            std::memcpy(&number, row + d, sizeof number);
            residuals.push_back(number - centroids[list * dims + d]);
        }
    }
    return residual_step(residuals.data(), residuals.size());
}

}  // namespace

IvfIndex::IvfIndex(const float* centroids, std::size_t lists, const std::int64_t* starts,
                   const std::int32_t* rows, const float* vectors, std::size_t dims)
    : lists_(lists),
      dims_(dims),
      groups_((dims + 7) / 8 * 2),
      size_(static_cast<std::size_t>(starts[lists])),
      words_(0),
      vectors_(vectors),
      level_(active_level()),
      starts_(starts, starts + lists + 1),
      first_block_(lists + 1) {
    const std::size_t width = code_width(dims), bytes = groups_ * 4 * kBlockRows;
    std::vector<std::uint8_t> codes(std::max<std::size_t>(lists, 1) * width);
    const float unit = encode_rows(centroids, lists, dims, codes.data()).step;
    auto* centroid_codes = centroid_codes_.reserve<std::uint8_t>(blocks_of(lists) * bytes);
    std::fill(centroid_codes, centroid_codes + blocks_of(lists) * bytes, std::uint8_t{128});
    std::vector<float> decoded(lists * dims);
    for (std::size_t list = 0; list < lists; ++list) {
        const std::uint8_t* from = codes.data() + list * width;
        place(from, groups_, list % kBlockRows, centroid_codes + list / kBlockRows * bytes);
        for (std::size_t d = 0; d < dims; ++d)
            decoded[list * dims + d] = static_cast<float>(from[d] - 128) * unit;
    }
    // where lists have next to no width, products of centroids stay within 32 bits
    constexpr float kFinest = 64;
    const float step = std::max(step_of(decoded.data(), lists, starts, rows, vectors, dims), unit / kFinest);
    unit_ = step > 0 ? double{unit} / step : 0;

    for (std::size_t list = 0; list < lists; ++list)
        first_block_[list + 1] = first_block_[list] + blocks_of(list_rows(list));
    const std::size_t size = first_block_[lists] * NibbleBlocks::bytes(groups_);
    auto* blocks = blocks_.reserve<std::uint8_t>(size);
    std::fill(blocks, blocks + size, std::uint8_t{0xff});  // no row
    const auto encode =
        variant(level_, scalar::encode_residual, avx2::encode_residual, avx512::encode_residual);
    std::vector<std::uint8_t> levels(groups_ * 4);
    constexpr std::size_t kAhead = 8;
    for (std::size_t list = 0; list < lists; ++list)
        for (std::size_t i = 0; i < list_rows(list); ++i) {
            const std::int32_t* row = rows + starts[list] + i;
            if (row + kAhead < rows + size_) prefetch_row(vectors, row[kAhead], dims);
            encode(vectors + static_cast<std::size_t>(*row) * dims, decoded.data() + list * dims, dims,
                   step > 0 ? 1 / step : 0, levels.data());
            place(*row, levels.data(), groups_, i % kBlockRows,
                  blocks + (first_block_[list] + i / kBlockRows) * NibbleBlocks::bytes(groups_));
        }
    const std::size_t end =
        size_ == 0 ? 0 : static_cast<std::size_t>(*std::max_element(rows, rows + size_)) + 1;
    words_ = (end + 63) / 64;
}

// The blocks of a list on their way to the cache, as far as that is worth it.
void IvfIndex::fetch(std::size_t list) const {
    constexpr std::size_t kMost = 8192;  // bytes
    const std::uint8_t* from = blocks().block(first_block_[list]);
    const auto bytes = static_cast<std::size_t>(blocks().block(first_block_[list + 1]) - from);
    for (std::size_t at = 0; at < std::min(bytes, kMost); at += 64) __builtin_prefetch(from + at);
}

// What the product of a centroid's codes, of which `product` is one, adds to those of its rows'.
std::int32_t IvfIndex::base_of(std::int32_t product, const IvfQuery& query) const {
    constexpr double kMost = 1 << 30;
    const double base = (product - 128 * query.sum) * unit_;  // centroids' codes are around 128
    return static_cast<std::int32_t>(std::rint(std::clamp(base, -kMost, kMost)));
}

void IvfIndex::search(const float* queries, std::size_t count, std::size_t k, std::size_t scanned,
                      double reach, const std::uint64_t* allowed, std::int32_t* rows,
                      float* scores) const {
    std::fill(rows, rows + count * k, -1);
    std::fill(scores, scores + count * k, -std::numeric_limits<float>::infinity());
    if (size_ == 0 || k == 0) return;
    // a few queries share what is read of the centroids
    constexpr std::size_t kTogether = 4;
    thread_local Buffer code_memory, pair_memory, product_memory;
    const std::size_t width = groups_ * 4, padded = blocks_of(lists_) * kBlockRows;
    auto* codes = code_memory.reserve<std::int8_t>(kTogether * width);
    auto* pairs = pair_memory.reserve<std::int16_t>(kTogether * width);
    auto* products = product_memory.reserve<std::int32_t>(kTogether * padded);
    const auto products_of =
        variant(level_, scalar::block_products, avx2::block_products, avx512::block_products);
    IvfQuery encoded[kTogether];
    for (std::size_t q = 0; q < count; q += kTogether) {
        const std::size_t some = std::min(kTogether, count - q);
        for (std::size_t i = 0; i < some; ++i)
            encoded[i] = encode_query(queries + (q + i) * dims_, dims_, groups_, codes + i * width,
                                      pairs + i * width);
        products_of({centroid_codes_.data<std::uint8_t>(), groups_}, blocks_of(lists_), encoded, some,
                    products);
        for (std::size_t i = 0; i < some; ++i)
            search_one(queries + (q + i) * dims_, encoded[i], products + i * padded, k, scanned, reach,
                       allowed, rows + (q + i) * k, scores + (q + i) * k);
    }
}

void IvfIndex::search_one(const float* query, const IvfQuery& encoded, const std::int32_t* products,
                          std::size_t k, std::size_t scanned, double reach,
                          const std::uint64_t* allowed, std::int32_t* rows, float* scores) const {
    const std::size_t keep = std::min(kept(k), size_), limit = 2 * keep + 256;
    const auto classify =
        variant(level_, scalar::classes_of, avx2::classes_of, avx512::classes_of);
    const auto scan = variant(level_, scalar::scan_list, avx2::scan_list, avx512::scan_list);
    const auto thin = variant(level_, scalar::thin, avx2::thin, avx512::thin);
    thread_local Buffer class_memory, order_memory, entry_memory, row_memory, score_memory;
    auto* classes = class_memory.reserve<std::uint8_t>(lists_);
    auto* order = order_memory.reserve<std::uint64_t>(lists_);
    // what comes of a few blocks fits beside what is kept; lists are scanned in such parts
    constexpr std::size_t kPart = 16;
    auto* entries = entry_memory.reserve<std::uint64_t>(limit + (kPart + 1) * kBlockRows);
    auto* candidates = row_memory.reserve<std::int32_t>(keep);
    auto* exact = score_memory.reserve<float>(keep);
    classify(products, lists_, classes);
    ListOrder nearest(products, classes, lists_, order);
    IvfHits hits{entries, 0, 0, std::numeric_limits<std::int32_t>::min(), 0, 0, {}};
    // an eighth of the spread, or up to half of that, is a class
    while (encoded.spread >> (hits.shift + 4) > 0) ++hits.shift;
    Standing standing;
    for (std::size_t i = 0, sorted = 0; i < lists_ && hits.seen < scanned; ++i) {
        if (i == sorted) sorted = nearest.more();
        const std::size_t list = order[i] & 0xffffffffu;
        const std::int32_t base = base_of(products[list], encoded);
        const std::int32_t middle = base + (twice_middle(encoded) >> 1);
        if (i == 0) hits.top = product_key(middle + 4 * encoded.spread);
        if (middle + reach * encoded.spread < standing.reached_by(hits, k)) break;
        if (i + 1 < sorted) fetch(order[i + 1] & 0xffffffffu);
        for (std::size_t block = first_block_[list]; block < first_block_[list + 1]; block += kPart) {
            const std::size_t before = hits.count;
            scan(blocks(), block, std::min(block + kPart, first_block_[list + 1]), allowed, encoded,
                 base, hits);
            standing.update(hits, hits.count - before, keep);
            if (hits.count < limit) continue;
            thin(hits);
            if (hits.count > limit / 2) cut(hits, keep);  // many are in one class
        }
    }
    thin(hits);
    cut(hits, keep);
    for (std::size_t i = 0; i < hits.count; ++i) candidates[i] = row_of(entries[i]);
    dot_rows(vectors_, dims_, candidates, hits.count, query, 1, exact);
    for (std::size_t i = 0; i < hits.count; ++i) entries[i] = ranked(exact[i], i);
    // behind them is room for as many
    const std::uint64_t* best = sort_ranked(entries, entries + keep, hits.count, candidates);
    for (std::size_t i = 0; i < std::min(k, hits.count); ++i) {
        const std::size_t position = ranked_position(best[i]);
        rows[i] = candidates[position];
        scores[i] = exact[position];
    }
}

}  // namespace tamis
