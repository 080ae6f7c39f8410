#include "code_scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "best.h"
#include "buffer.h"
#include "dot_rows.h"
#include "level.h"

#define TAMIS_BODY "../src/code_scan.inl"
#include "each_tier.h"

namespace tamis {
namespace {

// By how much products of codes may mistake the order of two rows for this query. Row and query are
// their codes give or take a residual: by Cauchy and Schwarz a product is off by at most
// residual * |query| + |row's codes| * query's residual, and so are two, in opposite ways.
std::int64_t margin(const CodedVectors& table, const float* query, float residual) {
    double length = 0, most = 0;
    for (std::size_t d = 0; d < table.dims; ++d) {
        length += static_cast<double>(query[d]) * query[d];
        most = std::max(most, std::fabs(static_cast<double>(query[d])));
    }
    length = std::sqrt(length);
    const double coded = static_cast<double>(table.fit.length) + table.fit.residual;
    // beside it what the exact score loses in single precision
    const double rounding = 1e-6 * static_cast<double>(table.dims) * length * table.fit.length;
    const double off = table.fit.residual * length + coded * residual + rounding;
    const double step = static_cast<double>(table.fit.step) * (most / 127);
    const double codes = 2 * off / step + 1;
    // anything that is no number lets every row through
    return codes < 4e9 ? static_cast<std::int64_t>(codes) : std::int64_t{4000000000};
}

// Of one query, the rows that can be among the best k by the products so far.
class Contenders {
public:
    void start(std::size_t k, std::int64_t margin) {
        k_ = k;
        margin_ = margin;
        least_ = std::numeric_limits<std::int64_t>::min();
        entries_.clear();
        limit_ = 4 * k + 4 * kBlock;
    }

    void add(const std::int32_t* rows, const std::int32_t* products, std::size_t count) {
        const std::size_t before = entries_.size();
        entries_.resize(before + count);
        std::uint64_t* to = entries_.data() + before;
        for (std::size_t i = 0; i < count; ++i) {
            *to = std::uint64_t{0x7fffffffu - static_cast<std::uint32_t>(products[i])} << 32 |
                  static_cast<std::uint32_t>(rows[i]);
            to += products[i] >= least_;  // written always, kept by the increment
        }
        entries_.resize(static_cast<std::size_t>(to - entries_.data()));
        if (entries_.size() >= limit_) cut();
    }

    // Whatever is left when all have been added; rows ascend.
    const std::vector<std::int32_t>& rows() {
        cut();
        rows_.clear();
        for (const std::uint64_t entry : entries_)
            rows_.push_back(static_cast<std::int32_t>(entry & 0xffffffffu));
        std::sort(rows_.begin(), rows_.end());
        return rows_;
    }

private:
    void cut() {
        if (entries_.size() <= k_) return;
        const auto kth = entries_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
        std::nth_element(entries_.begin(), kth, entries_.end());
        least_ = std::int64_t{0x7fffffff} - static_cast<std::int64_t>(*kth >> 32) - margin_;
        const auto end = std::partition(entries_.begin(), entries_.end(), [this](std::uint64_t e) {
            return std::int64_t{0x7fffffff} - static_cast<std::int64_t>(e >> 32) >= least_;
        });
        entries_.erase(end, entries_.end());
        limit_ = 2 * entries_.size() + 4 * kBlock;  // so that cutting is seldom, whatever is left
    }

    std::vector<std::uint64_t> entries_;  // 2^31 - 1 less the product, row
    std::vector<std::int32_t> rows_;
    std::size_t k_ = 0, limit_ = 0;
    std::int64_t margin_ = 0, least_ = 0;
};

void score_exactly(const CodedVectors& table, const float* query,
                   const std::vector<std::int32_t>& contenders, std::size_t k, std::int32_t* rows,
                   float* scores) {
    thread_local Buffer entries;
    Best best(entries.reserve<std::uint64_t>(Best::room(k)), k);
    float products[kBlock];
    for (std::size_t i = 0; i < contenders.size(); i += kBlock) {
        const std::size_t count = std::min(kBlock, contenders.size() - i);
        dot_rows(table.vectors, table.dims, contenders.data() + i, count, query, 1, products);
        best.add(contenders.data() + i, products, 1, count);
    }
    best.write(rows, scores);
}

}  // namespace

void scan_codes(const CodedVectors& table, const std::uint64_t* bits, std::size_t words,
                const float* queries, std::size_t query_count, std::size_t k, std::int32_t* rows,
                float* scores) {
    const std::size_t stride = k;
    std::fill(rows, rows + query_count * stride, -1);
    std::fill(scores, scores + query_count * stride, -std::numeric_limits<float>::infinity());
    k = std::min(k, table.size);
    if (k == 0 || query_count == 0) return;
    thread_local Buffer code_memory;
    thread_local std::vector<Contenders> contenders;
    const std::size_t width = code_width(table.dims);
    auto* codes = code_memory.reserve<std::int16_t>(query_count * width);
    if (contenders.size() < query_count) contenders.resize(query_count);
    const Level level = active_level();
    for (std::size_t q = 0; q < query_count; ++q) {
        const float* query = queries + q * table.dims;
        variant(level, scalar::scan_query, avx2::scan_query, avx512::scan_query)(
            query, table.dims, codes + q * width);
        float most = 0;
        for (std::size_t d = 0; d < table.dims; ++d) most = std::max(most, std::fabs(query[d]));
        const float residual = std::sqrt(
            variant(level, scalar::query_residual, avx2::query_residual, avx512::query_residual)(
                query, table.dims, codes + q * width, most / 127));
        contenders[q].start(k, margin(table, query, residual));
    }
    const auto products_of =
        variant(level, scalar::block_products, avx2::block_products, avx512::block_products);
    allowed_blocks(bits, words, table.size, [&](const std::int32_t* block, std::size_t count) {
        std::int32_t padded[kBlock + 4], products[kBlock + 4];
        std::copy(block, block + count, padded);
        for (std::size_t q = 0; q < query_count; ++q) {
            products_of(table, padded, count, codes + q * width, products);
            contenders[q].add(padded, products, count);
        }
    });
    for (std::size_t q = 0; q < query_count; ++q)
        score_exactly(table, queries + q * table.dims, contenders[q].rows(), k, rows + q * stride,
                      scores + q * stride);
}

}  // namespace tamis
