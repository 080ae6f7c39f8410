#include "dot_block.inl"

#include "dense.inl"

// A row in halves, in floats.
inline void widen(const Half* from, std::size_t count, float* to) {
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
    for (; i < count; ++i) to[i] = load_one(from + i);
}

// Of what is heard of the last events; returns how many they are.
inline std::size_t listen(const QueryTowerWeights& w, const QueryTowerUser& user,
                          const QueryTowerWork& work) {
    const std::size_t events = user.events < w.length ? user.events : w.length;
    std::size_t count = 0;
    for (std::size_t recency = 0; recency < events; ++recency) {
        const std::size_t at = user.events - 1 - recency;
        if (user.rows[at] < 0 || !w.heard[user.kinds[at]]) continue;
        const Half* event = w.history_table + static_cast<std::size_t>(user.rows[at]) * w.width;
        for (std::size_t i = 0; i < w.width; i += 32) __builtin_prefetch(event + i);
        work.heard[count] = {work.events + count * w.width, user.kinds[at], recency};
        ++count;
    }
    for (std::size_t p = 0; p < count; ++p) {
        const std::size_t at = user.events - 1 - work.heard[p].recency;
        widen(w.history_table + static_cast<std::size_t>(user.rows[at]) * w.width, w.width,
              work.events + p * w.width);
    }
    return count;
}

// A softmax over what is heard, then each event's share times the weight of its kind.
inline void attend(const QueryTowerWeights& w, std::size_t head, const Heard* heard,
                   std::size_t count, float* attention) {
    float most = -1e9f, sum = 0;
    for (std::size_t p = 0; p < count; ++p) {
        dot_block<1>(&heard[p].event, w.seeds + head * w.width, w.width, attention + p, 1);
        attention[p] += w.kind_bias[heard[p].kind * w.heads + head] +
                        w.recency_bias[heard[p].recency * w.heads + head];
        most = attention[p] > most ? attention[p] : most;
    }
    for (std::size_t p = 0; p < count; ++p) sum += attention[p] = std::exp(attention[p] - most);
    const float share = 1 / (sum > 1e-9f ? sum : 1e-9f);
    for (std::size_t p = 0; p < count; ++p) attention[p] *= share * w.kind_weight[heard[p].kind];
}

// Adds `share` times `from`, which may be unaligned.
inline void add_scaled(float share, const float* from, std::size_t count, float* to) {
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
        store(to + i, load(to + i) + share * load(from + i));
    for (; i < count; ++i) to[i] += share * load_one(from + i);
}

void encode_user(const QueryTowerWeights& w, const QueryTowerUser& user, const QueryTowerWork& work,
                 float* query) {
    std::memset(query, 0, w.dims * sizeof(float));
    const std::size_t heard = listen(w, user, work), pooled = w.heads * w.width;
    if (heard == 0) return;
    std::memset(work.pooled, 0, (pooled + w.width) * sizeof(float));  // `about` lies behind
    for (std::size_t head = 0; head < w.heads; ++head) {
        float* attention = work.attention + head * w.length;
        attend(w, head, work.heard, heard, attention);
        for (std::size_t p = 0; p < heard; ++p)
            add_scaled(attention[p], work.heard[p].event, w.width, work.pooled + head * w.width);
    }
    for (std::size_t s = 0; s < user.contexts; ++s)
        add_scaled(1, w.context_table + static_cast<std::size_t>(user.context[s]) * w.width, w.width,
                   work.about);
    std::memcpy(work.hidden, w.b1, w.hidden * sizeof(float));
    add_dense<1>(work.pooled, pooled, w.w1, w.hidden, work.hidden);
    add_dense<1>(work.about, w.width, w.w_context, w.hidden, work.hidden);
    for (std::size_t j = 0; j < w.hidden; ++j) work.hidden[j] = work.hidden[j] < 0 ? 0 : work.hidden[j];
    std::memcpy(query, w.b2, w.dims * sizeof(float));
    add_dense<1>(work.pooled, pooled, w.skip, w.dims, query);
    add_dense<1>(work.hidden, w.hidden, w.w2, w.dims, query);
    float length = 0;
    for (std::size_t d = 0; d < w.dims; ++d) length += query[d] * query[d];
    length = std::sqrt(length);
    // NaN is no direction either
    const float scale = length > 1e-9f ? 1 / length : 0;
    for (std::size_t d = 0; d < w.dims; ++d) query[d] = scale > 0 ? query[d] * scale : 0;
}
