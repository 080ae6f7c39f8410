struct Block {
    std::uint32_t word[8];
};

inline Block mask_of(std::uint64_t key) {
    Block mask;
    for (int i = 0; i < 8; ++i)
        mask.word[i] = 1u << (static_cast<std::uint32_t>(key) * kBloomSalt[i] >> 27);
    return mask;
}

inline std::size_t block_of(std::uint64_t key, std::size_t block_count) {
    return (key >> 32) * block_count >> 32;
}

void bloom_insert(std::uint32_t* blocks, std::size_t block_count, const std::uint64_t* keys,
                  std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t* at = blocks + 8 * block_of(keys[i], block_count);
        const Block mask = mask_of(keys[i]);
        Block block;
        std::memcpy(&block, at, sizeof block);
        for (int j = 0; j < 8; ++j) block.word[j] |= mask.word[j];
        std::memcpy(at, &block, sizeof block);
    }
}

void bloom_test(const std::uint32_t* blocks, std::size_t block_count, const std::uint64_t* keys,
                std::size_t count, bool* found) {
    for (std::size_t i = 0; i < count; ++i) {
        const Block mask = mask_of(keys[i]);
        Block block;
        std::memcpy(&block, blocks + 8 * block_of(keys[i], block_count), sizeof block);
        for (int j = 0; j < 8; ++j) block.word[j] = mask.word[j] & ~block.word[j];
        std::uint64_t missing[4];
        std::memcpy(missing, &block, sizeof missing);
        found[i] = (missing[0] | missing[1] | missing[2] | missing[3]) == 0;
    }
}
