// Reads the file that HierarchicalNSW::saveIndex of hnswlib 0.8.0 (hnswalg.h) writes: a header, a
// record for each element (link count and mark, links, vector, label), then each element's lists
// at the levels above, preceded by their length in bytes. Little-endian, without padding.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <system_error>

#include "codes.h"
#include "hnsw.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "index files are little-endian"
#endif

namespace tamis {
namespace {

constexpr std::size_t kHeaderBytes = 96;
constexpr std::uint64_t kMostElements = std::uint64_t{1} << 31;  // rows are int32
constexpr std::uint64_t kMostLinks = 0xffff;                     // a count has 16 bits

struct Header {
    std::uint64_t level0_offset, capacity, size, record_bytes, label_offset, vector_offset;
    std::int32_t top_level;
    std::uint32_t entry;
    std::uint64_t upper_links, links, m;
    double multiplier;
    std::uint64_t ef_construction;
};
static_assert(sizeof(Header) == kHeaderBytes, "the fields stand in the file without padding");

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

std::string text(std::uint64_t number) { return std::to_string(number); }

std::uint32_t word_at(const unsigned char* bytes, std::size_t index) {
    std::uint32_t word;
    std::memcpy(&word, bytes + index * sizeof word, sizeof word);
    return word;
}

}  // namespace

class HnswReader {
public:
    HnswReader(HnswGraph& graph, const std::string& path)
        : graph_(graph), view_(graph.view_), path_(path), file_(std::fopen(path.c_str(), "rb")) {
        struct stat status {};
        if (!file_ || fstat(fileno(file_.get()), &status) != 0) fail();
        left_ = static_cast<std::uint64_t>(status.st_size);
    }

    void read(std::size_t vectors, std::size_t dims) {
        read_header(vectors, dims);
        read_level0();
        read_upper_levels();
        if (left_ != 0) refuse(text(left_) + " bytes more than the header accounts for");
        check_entry();
        name_by_row();
    }

private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };

    [[noreturn]] void fail() const {
        throw std::system_error(errno != 0 ? errno : EIO, std::generic_category(), path_);
    }

    void bytes(void* to, std::size_t count, const std::string& what) {
        if (count > left_)
            refuse("ends within " + what + ": " + text(count) + " bytes are needed, " +
                   text(left_) + " are left");
        errno = 0;
        if (std::fread(to, 1, count, file_.get()) != count) fail();
        left_ -= count;
    }

    void read_header(std::size_t vectors, std::size_t dims) {
        bytes(&header_, kHeaderBytes, "the header");
        const Header& h = header_;
        if (h.level0_offset != 0 || h.links == 0 || h.links > kMostLinks || h.upper_links == 0 ||
            h.upper_links > kMostLinks || h.vector_offset != 4 * (h.links + 1) ||
            h.label_offset < h.vector_offset || h.record_bytes != h.label_offset + 8)
            refuse("its header is not that of an hnswlib index");
        if (h.label_offset - h.vector_offset != dims * sizeof(float))
            refuse("its vectors take " + text(h.label_offset - h.vector_offset) + " bytes, " +
                   text(dims) + " dimensions take " + text(dims * sizeof(float)));
        if (h.size > h.capacity || h.size >= kMostElements)
            refuse("holds " + text(h.size) + " elements, with room for " + text(h.capacity));
        if (h.top_level > 255) refuse("has " + std::to_string(h.top_level) + " levels, at most 255 are possible");
        if (h.size > left_ / h.record_bytes)
            refuse("too short for the " + text(h.size) + " elements it declares");
        if (h.size > vectors)
            refuse("holds " + text(h.size) + " elements, there are " + text(vectors) + " vectors");
        view_.size = static_cast<std::size_t>(h.size);
        view_.dims = dims;
        view_.stride = round_up(static_cast<std::size_t>(h.links), 16);
        view_.upper_stride = static_cast<std::size_t>(h.upper_links);
        view_.entry = h.entry;
        view_.top_level = view_.size == 0 ? -1 : h.top_level;
    }

    // The links of element `i`, by element, into `to`, which has room for `stride`.
    void take_links(const unsigned char* list, std::uint64_t most, std::size_t element,
                    std::size_t stride, std::uint32_t* to) const {
        const std::size_t count = word_at(list, 0) & 0xffffu;
        if (count > most)
            refuse("element " + text(element) + ": " + text(count) + " links, allowed are " +
                   text(most));
        for (std::size_t i = 0; i < stride; ++i) {
            to[i] = i < count ? word_at(list, i + 1) : kNoLink;
            if (i < count && to[i] >= view_.size)
                refuse("element " + text(element) + ": links to " + text(to[i]) + " of " +
                       text(view_.size));
        }
    }

    void read_level0() {
        const std::size_t size = view_.size;
        std::vector<unsigned char> record(static_cast<std::size_t>(header_.record_bytes));
        std::vector<bool> named(size, false);
        links_ = graph_.links_.reserve<std::uint32_t>(size * view_.stride);
        rows_.resize(size);
        for (std::size_t i = 0; i < size; ++i) {
            bytes(record.data(), record.size(), "element " + text(i));
            take_links(record.data(), header_.links, i, view_.stride, links_ + i * view_.stride);
            std::uint64_t label;
            std::memcpy(&label, record.data() + header_.label_offset, sizeof label);
            if (label >= size || named[static_cast<std::size_t>(label)])
                refuse("element " + text(i) + ": label " + text(label) +
                       (label < size ? " stands twice" : " is no row of " + text(size)));
            named[static_cast<std::size_t>(label)] = true;
            rows_[i] = static_cast<std::uint32_t>(label);
            const std::size_t floats = static_cast<std::size_t>(label) * view_.dims;
            if (std::memcmp(record.data() + header_.vector_offset, view_.vectors + floats,
                            view_.dims * sizeof(float)) != 0)
                refuse("element " + text(i) + ": its vector is not that of row " + text(label));
            if (record[2] & 1) mark_deleted(rows_[i]);
        }
    }

    void mark_deleted(std::uint32_t row) {
        std::vector<std::uint64_t>& live = graph_.live_;
        if (live.empty()) live.assign(graph_.words(), ~std::uint64_t{0});
        live[row / 64] &= ~(std::uint64_t{1} << row % 64);
    }

    void read_upper_levels() {
        const std::size_t stride = view_.upper_stride, list_bytes = 4 * (stride + 1);
        std::vector<unsigned char> list(list_bytes);
        levels_.resize(view_.size);
        starts_.resize(view_.size);
        for (std::size_t i = 0; i < view_.size; ++i) {
            std::uint32_t length;
            bytes(&length, sizeof length, "the levels of element " + text(i));
            levels_[i] = static_cast<std::int32_t>(length / list_bytes);
            if (length % list_bytes != 0 || length > left_ || levels_[i] > view_.top_level)
                refuse("element " + text(i) + ": " + text(length) +
                       " bytes of links above level 0, " + std::to_string(view_.top_level) +
                       " levels of " + text(list_bytes) + " are possible");
            starts_[i] = static_cast<std::uint32_t>(graph_.upper_.size() / stride);
            for (int level = 1; level <= levels_[i]; ++level) {
                bytes(list.data(), list_bytes, "the levels of element " + text(i));
                const std::size_t at = graph_.upper_.size();
                graph_.upper_.resize(at + stride);
                take_links(list.data(), stride, i, stride, &graph_.upper_[at]);
            }
        }
        // only now is it known how high each linked element reaches
        for (std::size_t i = 0; i < view_.size; ++i)
            for (int level = 1; level <= levels_[i]; ++level)
                for (std::size_t j = 0; j < stride; ++j) {
                    const auto list_at = starts_[i] + static_cast<std::size_t>(level - 1);
                    const std::uint32_t to = graph_.upper_[list_at * stride + j];
                    if (to != kNoLink && levels_[to] < level)
                        refuse("element " + text(i) + ": links to " + text(to) + " at level " +
                               std::to_string(level) + ", which that does not reach");
                }
    }

    void check_entry() const {
        if (view_.size == 0) return;
        if (view_.entry >= view_.size || levels_[view_.entry] != view_.top_level)
            refuse("its entry point " + text(view_.entry) + " is not an element of level " +
                   std::to_string(view_.top_level));
    }

    // From elements, numbered as they were added, to rows.
    void name_by_row() {
        graph_.upper_at_.resize(view_.size);
        graph_.levels_.resize(view_.size);
        for (std::size_t i = 0; i < view_.size; ++i) {
            graph_.upper_at_[rows_[i]] = starts_[i];
            graph_.levels_[rows_[i]] = static_cast<std::uint8_t>(levels_[i]);
        }
        for (std::uint32_t& link : graph_.upper_)
            if (link != kNoLink) link = rows_[link];
        for (std::size_t i = 0; i < view_.size * view_.stride; ++i)
            if (links_[i] != kNoLink) links_[i] = rows_[links_[i]];
        if (view_.size > 0) view_.entry = rows_[view_.entry];
        permute();
        view_.links = links_;
        view_.upper = graph_.upper_.data();
        view_.upper_at = graph_.upper_at_.data();
    }

    // Moves the list of each element to its row, along the cycles of the permutation.
    void permute() {
        for (std::size_t i = 0; i < view_.size; ++i)
            while (rows_[i] != i) {
                const std::size_t row = rows_[i];
                std::uint32_t* here = links_ + i * view_.stride;
                std::swap_ranges(here, here + view_.stride, links_ + row * view_.stride);
                std::swap(rows_[i], rows_[row]);
            }
    }

    HnswGraph& graph_;
    HnswView& view_;
    const std::string& path_;
    std::unique_ptr<std::FILE, Close> file_;
    std::uint64_t left_ = 0;
    Header header_{};
    std::uint32_t* links_ = nullptr;
    std::vector<std::uint32_t> rows_;    // of each element
    std::vector<std::uint32_t> starts_;  // of each element's lists in upper_
    std::vector<std::int32_t> levels_;
};

HnswGraph::HnswGraph(const std::string& path, const float* vectors, std::size_t count,
                     std::size_t dims)
    : level_(active_level()) {
    view_.vectors = vectors;
    if (is_graph_file(path))
        read_graph_file(path, count, dims);
    else
        HnswReader(*this, path).read(count, dims);
    std::uint8_t* codes = codes_.reserve<std::uint8_t>(view_.size * code_width(dims));
    encode_rows(vectors, view_.size, dims, codes);
    view_.codes = codes;
}

}  // namespace tamis
