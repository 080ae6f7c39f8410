// Search in inverted lists (IVF: Jégou, Douze, Schmid, TPAMI 2011): rows are kept in lists, each
// around a centroid, and a query looks into those whose centroids are nearest to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "level.h"

namespace tamis {

constexpr std::size_t kBlockRows = 16;  // rows whose codes lie together: a register of products

// Codes of 8 bits in blocks, [blocks][groups][kBlockRows][4]: four dimensions of sixteen rows to a
// cache line, so that products of sixteen rows fill a register without adding across it.
struct ByteBlocks {
    const std::uint8_t* codes;
    std::size_t groups;  // of four dimensions

    const std::uint8_t* block(std::size_t index) const {
        return codes + index * groups * 4 * kBlockRows;
    }
};

// Rows in blocks, each sixteen numbers of rows, -1 where there is none, and then their codes of 4
// bits, [groups / 2][kBlockRows][4]: of eight dimensions the first four in the low halves of bytes.
// What a search reads lies one behind the other.
struct NibbleBlocks {
    const std::uint8_t* data;
    std::size_t groups;  // of four dimensions: an even number

    static std::size_t bytes(std::size_t groups) { return (4 + groups * 2) * kBlockRows; }
    const std::uint8_t* block(std::size_t index) const { return data + index * bytes(groups); }
};

// Codes of a query, -127 to 127, and the same by pairs of 16 bits: of each group of four dimensions
// the even ones, then the odd. `sum` is that of the codes; `spread` by how much the products of rows
// of a list differ, as a standard deviation.
struct IvfQuery {
    const std::int8_t* codes;
    const std::int16_t* pairs;
    std::int32_t sum, spread;
};

// Ascends as a product of codes descends.
inline std::uint32_t product_key(std::int32_t product) {
    return 0x7fffffffu - static_cast<std::uint32_t>(product);
}
inline std::int32_t product_of(std::uint32_t key) {
    return static_cast<std::int32_t>(0x7fffffffu - key);
}

// Of one query, the rows that can be among the best. `least` is the product that a row must reach.
// Those that did are counted by class: 0 ends with the key `top`, each other 2^shift keys later, and
// the last holds the rest. So which product the n-th best has is known to within a class.
struct IvfHits {
    static constexpr std::uint32_t kClasses = 256;

    std::uint64_t* entries;  // product_key, row: ascending is best first
    std::size_t count;
    std::size_t seen;  // allowed rows so far, near or not
    std::int32_t least;
    std::uint32_t top;
    int shift;
    std::uint32_t classes[kClasses];

    std::uint32_t class_of(std::uint32_t key) const {
        const std::uint32_t number = key <= top ? 0 : ((key - top - 1) >> shift) + 1;
        return number < kClasses ? number : kClasses - 1;
    }
    // The least product of a class that is not the last.
    std::int32_t least_of(std::uint32_t number) const { return product_of(top + (number << shift)); }
};

class IvfIndex {
public:
    // Centroids [lists][dims]; list l is rows[starts[l]] to rows[starts[l + 1] - 1], each a row of
    // `vectors` [count][dims], which may be unaligned and must outlive the index. `starts` has
    // lists + 1 entries, ascends from 0; rows are in range and none comes twice.
    IvfIndex(const float* centroids, std::size_t lists, const std::int64_t* starts,
             const std::int32_t* rows, const float* vectors, std::size_t dims);

    std::size_t size() const { return size_; }
    std::size_t lists() const { return lists_; }
    std::size_t dims() const { return dims_; }
    std::size_t words() const { return words_; }  // of bits that allow rows

    // The best k allowed rows of each query [count][dims], filled up with -1 and -inf, of those in
    // the nearest lists that hold `scanned` allowed rows, but of no list whose rows are on average
    // worse than the k-th best before by more than `reach` times their spread. `allowed` has words()
    // words or is null. Thread safe.
    void search(const float* queries, std::size_t count, std::size_t k, std::size_t scanned,
                double reach, const std::uint64_t* allowed, std::int32_t* rows, float* scores) const;

private:
    void fetch(std::size_t list) const;
    std::int32_t base_of(std::int32_t product, const IvfQuery& query) const;
    void search_one(const float* query, const IvfQuery& encoded, const std::int32_t* products,
                    std::size_t k, std::size_t scanned, double reach, const std::uint64_t* allowed,
                    std::int32_t* rows, float* scores) const;
    std::size_t list_rows(std::size_t list) const {
        return static_cast<std::size_t>(starts_[list + 1] - starts_[list]);
    }

    NibbleBlocks blocks() const { return {blocks_.data<std::uint8_t>(), groups_}; }

    std::size_t lists_, dims_, groups_, size_, words_;
    const float* vectors_;
    Level level_;
    double unit_ = 0;  // what a product of a centroid's codes is worth in products of residuals
    std::vector<std::int64_t> starts_;
    std::vector<std::size_t> first_block_;  // [lists + 1]
    Buffer centroid_codes_, blocks_;
};

}  // namespace tamis
