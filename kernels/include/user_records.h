// What a store keeps of one user, as byte strings: layouts in tamis_server/domain/user_record.py,
// domain/seen.py and adapters/embedded/lmdb_record.py. What has no such layout throws
// invalid_argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tamis {

constexpr std::size_t kKinds = 9;

struct EventColumns {
    const std::uint64_t* keys;
    const double* times;
    const std::uint8_t* kinds;  // below kKinds
};

// Puts events [begin, end) in their places by time, an equal time behind; beyond `most` the oldest
// go, but stay counted.
void append_events(std::string& history, const EventColumns& events, std::size_t begin,
                   std::size_t end, std::size_t most);

enum class Appended : std::uint8_t { was_there, appended, no_room };

// Appends a key to a list of at most `most` distinct ones.
Appended append_key(std::string& list, std::uint64_t key, std::size_t most);

// How a filter grows: blocks of its first layer, bits a key in each layer.
struct FilterGrowth {
    std::size_t first_blocks;
    const double* layer_bits;
    std::size_t layers;
};

// Inserts a key into a filter of split-block layers, adding one where they are full; false if it was in.
bool insert_key(std::string& filter, std::uint64_t key, const FilterGrowth& growth);

struct Part {
    std::string_view name, content;
};

// The first of a record's parts, which `record` then begins behind; false where there is none.
bool next_part(std::string_view& record, Part& part);

void append_part(std::string& record, const Part& part);

}  // namespace tamis
