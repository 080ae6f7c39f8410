#include "slate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "buffer.h"
#include "dot_rows.h"
#include "score_key.h"

namespace tamis {
namespace {

// What a candidate's objective was when it last was looked at. It can only have fallen since.
struct Bound {
    std::uint64_t order;  // score_key, row: ascending is best first
    std::uint32_t at;     // position among the candidates

    bool operator<(const Bound& other) const {
        return order != other.order ? order < other.order : at < other.at;
    }
};

// A heap whose top is the least. Restores it where only the top may have grown.
void sink(Bound* heap, std::size_t size) {
    const Bound top = heap[0];
    std::size_t at = 0;
    for (std::size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1] < heap[child]) ++child;
        if (!(heap[child] < top)) break;
        heap[at] = heap[child];
    }
    heap[at] = top;
}

// NaN counts as 0.
float known(float product) { return product == product ? product : 0; }

class Mmr {
public:
    static constexpr std::size_t floats(std::size_t count, std::size_t) { return 2 * count; }

    Mmr(const SlateCandidates& c, std::size_t, float trade_off, float penalty, float* memory)
        : gain_(memory), nearest_(memory + c.count), penalty_(penalty) {
        for (std::size_t i = 0; i < c.count; ++i) gain_[i] = trade_off * c.relevance[i];
        // not infinitely far: a penalty of 0 times that is no number
        std::fill(nearest_, nearest_ + c.count, std::numeric_limits<float>::lowest());
    }

    void pick(std::size_t, std::size_t) {}
    void meet(std::size_t at, std::size_t, float similarity) {
        nearest_[at] = std::max(nearest_[at], similarity);
    }
    float objective(std::size_t at) const { return gain_[at] - penalty_ * nearest_[at]; }

private:
    float *gain_, *nearest_;  // of each candidate; the largest similarity to a pick
    float penalty_;
};

class Dpp {
public:
    static constexpr std::size_t floats(std::size_t count, std::size_t k) {
        return 2 * count + (count + 1) * k;
    }

    Dpp(const SlateCandidates& c, std::size_t k, float trade_off, float weight, float* memory)
        : k_(k),
          gain_(memory),
          left_(gain_ + c.count),
          shares_(left_ + c.count),
          scale_(shares_ + c.count * k),
          weight_(weight) {
        thread_local Buffer own_memory, pick_memory;
        picks_ = pick_memory.reserve<std::size_t>(k);
        float* own = own_memory.reserve<float>(c.dims);
        constexpr std::size_t kAhead = 8;
        for (std::size_t i = 0; i < c.count; ++i) {
            if (i + kAhead < c.count)
                for (std::size_t d = 0; d < c.dims; d += 16)
                    __builtin_prefetch(c.vector(i + kAhead) + d);
            std::memcpy(own, c.vector(i), c.dims * sizeof(float));
            float square;
            dot_rows(c.vectors, c.dims, c.rows + i, 1, own, 1, &square);
            left_[i] = (1 + known(square)) / 2;
            gain_[i] = trade_off * c.relevance[i];
        }
    }

    void pick(std::size_t at, std::size_t place) {
        picks_[place] = at;
        // of what is spanned already there is nothing more to take away
        scale_[place] = left_[at] > kNothing ? 1 / std::sqrt(left_[at]) : 0;
    }
    void meet(std::size_t at, std::size_t place, float product) {
        float* own = shares_ + at * k_;
        const float* picked = shares_ + picks_[place] * k_;
        float share = (1 + product) / 2;
        for (std::size_t before = 0; before < place; ++before) share -= own[before] * picked[before];
        own[place] = share *= scale_[place];
        left_[at] = std::max(left_[at] - share * share, kNothing);
    }
    float objective(std::size_t at) const { return gain_[at] + weight_ * std::log(left_[at]); }

private:
    // what the picks span already; among such relevance decides
    static constexpr float kNothing = 1e-6f;

    std::size_t k_;
    std::size_t* picks_;
    float *gain_, *left_;  // of each candidate; the variance that the picks leave of it
    float *shares_;        // [count][k], rows of the Cholesky factor
    float *scale_;         // [k]
    float weight_;
};

// The first pick is the most relevant. From then on objectives only fall from pick to pick, so that
// one looked at before is an upper bound, and mostly few candidates are looked at again (lazy
// greedy: Minoux, Optimization Techniques, 1978).
template <class Method>
void choose(const SlateCandidates& c, std::size_t k, double trade_off, std::int32_t* positions) {
    k = std::min(k, c.count);
    if (k == 0) return;
    thread_local Buffer float_memory, heap_memory, number_memory;
    float* picks = float_memory.reserve<float>(c.dims * (k + 1) + c.count + k +
                                               Method::floats(c.count, k));
    float *own = picks + c.dims * k, *products = own + c.dims;
    Method method(c, k, static_cast<float>(trade_off), static_cast<float>(1.0 - trade_off),
                  products + c.count + k);
    auto* heap = heap_memory.reserve<Bound>(c.count);
    auto* met = number_memory.reserve<std::int32_t>(c.count + k);  // so many picks
    std::int32_t* order = met + c.count;
    std::iota(order, order + k, 0);

    const auto bound = [&](std::size_t at, float objective) {
        return Bound{std::uint64_t{score_key(objective)} << 32 | static_cast<std::uint32_t>(c.rows[at]),
                     static_cast<std::uint32_t>(at)};
    };
    std::size_t picked = 0;
    const auto take = [&](std::size_t at) {
        std::memcpy(picks + picked * c.dims, c.vector(at), c.dims * sizeof(float));
        method.pick(at, picked);
        positions[picked++] = static_cast<std::int32_t>(at);
    };

    Bound first = bound(0, c.relevance[0]);
    for (std::size_t i = 1; i < c.count; ++i) first = std::min(first, bound(i, c.relevance[i]));
    take(first.at);
    if (k == 1) return;
    dot_rows(c.vectors, c.dims, c.rows, c.count, picks, 1, products);
    std::size_t size = 0;
    for (std::size_t i = 0; i < c.count; ++i) {
        if (i == first.at) continue;
        method.meet(i, 0, known(products[i]));
        met[i] = 1;
        heap[size++] = bound(i, method.objective(i));
    }
    std::make_heap(heap, heap + size, [](const Bound& a, const Bound& b) { return b < a; });
    while (picked < k) {
        const std::size_t at = heap[0].at, seen = static_cast<std::size_t>(met[at]);
        if (seen == picked) {
            take(at);
            heap[0] = heap[--size];
        } else {
            std::memcpy(own, c.vector(at), c.dims * sizeof(float));
            dot_rows(picks, c.dims, order + seen, picked - seen, own, 1, products);
            for (std::size_t place = seen; place < picked; ++place)
                method.meet(at, place, known(products[place - seen]));
            met[at] = static_cast<std::int32_t>(picked);
            heap[0] = bound(at, method.objective(at));
        }
        sink(heap, size);
    }
}

}  // namespace

void mmr(const SlateCandidates& candidates, std::size_t k, double trade_off,
         std::int32_t* positions) {
    choose<Mmr>(candidates, k, trade_off, positions);
}

void dpp(const SlateCandidates& candidates, std::size_t k, double trade_off,
         std::int32_t* positions) {
    choose<Dpp>(candidates, k, trade_off, positions);
}

}  // namespace tamis
