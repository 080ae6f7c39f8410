#include "ivf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "codes.h"
#include "dot_rows.h"
#include "score_key.h"

#define TAMIS_BODY "../src/ivf.inl"
#include "each_tier.h"

namespace tamis {
namespace {

std::size_t blocks_of(std::size_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

// Codes of a row into its place in a block.
void place(const std::uint8_t* codes, std::size_t groups, std::size_t slot, std::uint8_t* block) {
    for (std::size_t g = 0; g < groups; ++g)
        std::memcpy(block + (g * kBlockRows + slot) * 4, codes + g * 4, 4);
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
    for (std::size_t d = 0; d < groups * 4; ++d) {
        const float scaled = d < dims ? query[d] * scale : 0;
        codes[d] = static_cast<std::int8_t>(scaled == scaled ? std::rint(scaled) : 0);
        pairs[d / 4 * 4 + d % 2 * 2 + d % 4 / 2] = codes[d];
    }
    return {codes, pairs};
}

// More than are asked for: what codes take for worse by a little may be better.
std::size_t kept(std::size_t k) { return k + k / 8 + kBlockRows; }

// All but the best `keep` are left out, and none is let in that is worse than these.
void cut(IvfHits& hits, std::size_t keep) {
    if (hits.count <= keep) return;
    std::nth_element(hits.entries, hits.entries + keep - 1, hits.entries + hits.count);
    hits.count = keep;
    // unsigned, as where keys are made: a difference of 2^31 and more wraps round to the product
    hits.least = static_cast<std::int32_t>(
        0x7fffffffu - static_cast<std::uint32_t>(hits.entries[keep - 1] >> 32));
}

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

}  // namespace

IvfIndex::IvfIndex(const float* centroids, std::size_t lists, const std::int64_t* starts,
                   const std::int32_t* rows, const float* vectors, std::size_t dims)
    : lists_(lists),
      dims_(dims),
      groups_((dims + 3) / 4),
      size_(static_cast<std::size_t>(starts[lists])),
      words_(0),
      vectors_(vectors),
      level_(active_level()),
      starts_(starts, starts + lists + 1),
      first_block_(lists + 1) {
    const std::size_t width = code_width(dims), bytes = groups_ * 4 * kBlockRows;
    std::vector<std::uint8_t> codes(std::max<std::size_t>(lists, 1) * width);
    encode_rows(centroids, lists, dims, codes.data());
    auto* block_codes = centroid_codes_.reserve<std::uint8_t>(blocks_of(lists) * bytes);
    std::fill(block_codes, block_codes + blocks_of(lists) * bytes, std::uint8_t{128});
    for (std::size_t list = 0; list < lists; ++list)
        place(codes.data() + list * width, groups_, list % kBlockRows,
              block_codes + list / kBlockRows * bytes);

    for (std::size_t list = 0; list < lists; ++list)
        first_block_[list + 1] = first_block_[list] + blocks_of(list_rows(list));
    const std::size_t blocks = first_block_[lists];
    auto* slots = rows_.reserve<std::int32_t>(blocks * kBlockRows);
    std::fill(slots, slots + blocks * kBlockRows, -1);
    block_codes = codes_.reserve<std::uint8_t>(blocks * bytes);
    std::fill(block_codes, block_codes + blocks * bytes, std::uint8_t{128});
    const std::size_t end =
        size_ == 0 ? 0 : static_cast<std::size_t>(*std::max_element(rows, rows + size_)) + 1;
    words_ = (end + 63) / 64;
    // where rows are the first ones they are read in order
    const float most = largest_number(vectors, end == size_ ? nullptr : rows, size_, dims);
    constexpr std::size_t kAhead = 8;
    for (std::size_t list = 0; list < lists; ++list)
        for (std::size_t i = 0; i < list_rows(list); ++i) {
            const std::int32_t* row = rows + starts[list] + i;
            const std::size_t slot = first_block_[list] * kBlockRows + i;
            slots[slot] = *row;
            if (row + kAhead < rows + size_) prefetch_row(vectors, row[kAhead], dims);
            encode(vectors, row, 1, dims, most, codes.data());
            place(codes.data(), groups_, slot % kBlockRows,
                  block_codes + slot / kBlockRows * bytes);
        }
}

// The codes of a list on their way to the cache, as far as that is worth it.
void IvfIndex::fetch(std::size_t list) const {
    constexpr std::size_t kMost = 8192;  // bytes
    const BlockCodes table{codes_.data<std::uint8_t>(), groups_};
    const std::uint8_t* from = table.block(first_block_[list]);
    const auto bytes = static_cast<std::size_t>(table.block(first_block_[list + 1]) - from);
    for (std::size_t at = 0; at < std::min(bytes, kMost); at += 64) __builtin_prefetch(from + at);
}

void IvfIndex::search(const float* queries, std::size_t count, std::size_t k, std::size_t scanned,
                      const std::uint64_t* allowed, std::int32_t* rows, float* scores) const {
    std::fill(rows, rows + count * k, -1);
    std::fill(scores, scores + count * k, -std::numeric_limits<float>::infinity());
    if (size_ == 0 || k == 0) return;
    const std::size_t keep = std::min(kept(k), size_), limit = 2 * keep + 256;
    const auto products_of =
        variant(level_, scalar::block_products, avx2::block_products, avx512::block_products);
    const auto classify =
        variant(level_, scalar::classes_of, avx2::classes_of, avx512::classes_of);
    const auto scan = variant(level_, scalar::scan_list, avx2::scan_list, avx512::scan_list);
    thread_local Buffer code_memory, pair_memory, product_memory, class_memory, order_memory, entry_memory,
        row_memory, score_memory;
    auto* codes = code_memory.reserve<std::int8_t>(groups_ * 4);
    auto* pairs = pair_memory.reserve<std::int16_t>(groups_ * 4);
    auto* products = product_memory.reserve<std::int32_t>(blocks_of(lists_) * kBlockRows);
    auto* classes = class_memory.reserve<std::uint8_t>(lists_);
    auto* order = order_memory.reserve<std::uint64_t>(lists_);
    // what comes of a few blocks fits beside what is kept; lists are scanned in such parts
    constexpr std::size_t kPart = 16;
    auto* entries = entry_memory.reserve<std::uint64_t>(limit + (kPart + 1) * kBlockRows);
    auto* candidates = row_memory.reserve<std::int32_t>(keep);
    auto* exact = score_memory.reserve<float>(keep);
    for (std::size_t q = 0; q < count; ++q) {
        const float* query = queries + q * dims_;
        const IvfQuery encoded = encode_query(query, dims_, groups_, codes, pairs);
        products_of({centroid_codes_.data<std::uint8_t>(), groups_}, blocks_of(lists_), encoded,
                    products);
        classify(products, lists_, classes);
        ListOrder nearest(products, classes, lists_, order);
        IvfHits hits{entries, 0, 0, std::numeric_limits<std::int32_t>::min()};
        for (std::size_t i = 0, sorted = 0; i < lists_ && hits.seen < scanned; ++i) {
            if (i == sorted) sorted = nearest.more();
            const std::size_t list = order[i] & 0xffffffffu;
            if (i + 1 < sorted) fetch(order[i + 1] & 0xffffffffu);
            for (std::size_t block = first_block_[list]; block < first_block_[list + 1];
                 block += kPart) {
                scan({codes_.data<std::uint8_t>(), groups_}, block,
                     std::min(block + kPart, first_block_[list + 1]), rows_.data<std::int32_t>(),
                     allowed, encoded, hits);
                if (hits.count >= limit) cut(hits, keep);
            }
        }
        cut(hits, keep);
        for (std::size_t i = 0; i < hits.count; ++i) candidates[i] = row_of(entries[i]);
        dot_rows(vectors_, dims_, candidates, hits.count, query, 1, exact);
        for (std::size_t i = 0; i < hits.count; ++i)
            entries[i] = std::uint64_t{score_key(exact[i])} << 32 |
                         static_cast<std::uint32_t>(candidates[i]);
        const std::size_t found = std::min(k, hits.count);
        std::sort(entries, entries + hits.count);
        for (std::size_t i = 0; i < found; ++i) {
            rows[q * k + i] = row_of(entries[i]);
            scores[q * k + i] = key_score(static_cast<std::uint32_t>(entries[i] >> 32));
        }
    }
}

}  // namespace tamis
