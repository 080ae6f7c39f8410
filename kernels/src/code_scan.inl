#include "code_block.inl"

// The products of a block of ascending rows; `rows` may be followed by three that are written to.
void block_products(const CodedVectors& table, std::int32_t* rows, std::size_t count,
                    const std::int16_t* query_codes, std::int32_t* products) {
    constexpr std::size_t kAhead = 16;  // rows that are fetched while others are multiplied
    const std::size_t width = code_width(table.dims);
    for (std::size_t i = count; i % 4 != 0; ++i) rows[i] = rows[0];
    for (std::size_t i = 0; i < count; i += 4) {
        const std::uint8_t* row[4];
        for (std::size_t r = 0; r < 4; ++r) {
            row[r] = table.codes + static_cast<std::size_t>(rows[i + r]) * width;
            if (i + r + kAhead >= count) continue;
            const auto next = static_cast<std::size_t>(rows[i + r + kAhead]);
            for (std::size_t at = 0; at < width; at += 64)
                __builtin_prefetch(table.codes + next * width + at);
        }
        code_dots(row, reinterpret_cast<const QueryCode*>(query_codes), width, products + i);
    }
}

void scan_query(const float* query, std::size_t dims, std::int16_t* codes) {
    encode_query(query, dims, code_width(dims), reinterpret_cast<QueryCode*>(codes));
}

// The length of what the codes of a query leave out of it; NaN if the query holds one.
float query_residual(const float* query, std::size_t dims, const std::int16_t* codes, float step) {
    float residual = 0;
    for (std::size_t d = 0; d < dims; ++d) {
        const float left =
            query[d] - static_cast<float>(reinterpret_cast<const QueryCode*>(codes)[d]) * step;
        residual += left * left;
    }
    return residual;
}
