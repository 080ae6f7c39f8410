#include "user_records.h"

#include <cstring>
#include <stdexcept>

#include "bloom.h"

namespace tamis {
namespace {

constexpr std::size_t kHistoryHeader = 4 * kKinds + 4, kEntry = 17, kTimeAt = 8, kKindAt = 16;
constexpr std::size_t kBlock = 32, kFilterHeader = 32, kKey = 8, kPartHead = 5;

template <class T>
T read(std::string_view from, std::size_t at) {
    T value;
    std::memcpy(&value, from.data() + at, sizeof value);
    return value;
}

template <class T>
void write(std::string& to, std::size_t at, T value) {
    std::memcpy(to.data() + at, &value, sizeof value);
}

std::uint32_t* words(std::string& filter, std::size_t at) {
    return reinterpret_cast<std::uint32_t*>(filter.data() + at);
}

void drop_oldest(std::string& history, std::size_t most) {
    const std::size_t kept = kHistoryHeader + most * kEntry;
    if (history.size() > kept) history.erase(kHistoryHeader, history.size() - kept);
}

}  // namespace

void append_events(std::string& history, const EventColumns& events, std::size_t begin,
                   std::size_t end, std::size_t most) {
    if (history.empty()) history.resize(kHistoryHeader);
    if (history.size() < kHistoryHeader || (history.size() - kHistoryHeader) % kEntry != 0)
        throw std::invalid_argument("no history of whole entries");
    for (std::size_t i = begin; i < end; ++i) {
        std::size_t place = history.size();
        while (place > kHistoryHeader &&
               read<double>(history, place - kEntry + kTimeAt) > events.times[i])
            place -= kEntry;
        history.insert(place, kEntry, '\0');
        write(history, place, events.keys[i]);
        write(history, place + kTimeAt, events.times[i]);
        write(history, place + kKindAt, events.kinds[i]);
        const std::size_t counter = sizeof(std::uint32_t) * events.kinds[i];
        write(history, counter, read<std::uint32_t>(history, counter) + 1);
        // not at each event: that would move all of a full history each time
        if (history.size() > kHistoryHeader + 2 * most * kEntry) drop_oldest(history, most);
    }
    drop_oldest(history, most);
}

Appended append_key(std::string& list, std::uint64_t key, std::size_t most) {
    if (list.size() % kKey != 0) throw std::invalid_argument("no list of whole keys");
    for (std::size_t at = 0; at < list.size(); at += kKey)
        if (read<std::uint64_t>(list, at) == key) return Appended::was_there;
    if (list.size() >= kKey * most) return Appended::no_room;
    list.append(reinterpret_cast<const char*>(&key), kKey);
    return Appended::appended;
}

bool insert_key(std::string& filter, std::uint64_t key, const FilterGrowth& growth) {
    if (filter.empty()) {
        filter.resize(kFilterHeader + kBlock * growth.first_blocks);
        write(filter, sizeof(std::uint32_t), static_cast<std::uint32_t>(growth.first_blocks));
    }
    std::size_t blocks =
        filter.size() < kFilterHeader ? 0 : read<std::uint32_t>(filter, sizeof(std::uint32_t));
    std::size_t start = kFilterHeader, layer = 0;
    std::uint64_t room = 0;
    while (true) {
        if (blocks == 0 || layer == growth.layers || kBlock * blocks > filter.size() - start)
            throw std::invalid_argument("no filter of whole layers");
        const BloomFilter tested{words(filter, start), blocks};
        std::int32_t position = 0;
        if (bloom_absent(&tested, 1, &key, 1, &position) == 0) return false;
        room += static_cast<std::uint64_t>(static_cast<double>(blocks) * 256 /
                                           growth.layer_bits[layer]);
        const std::size_t next = start + kBlock * blocks;
        if (next == filter.size()) break;
        start = next, blocks *= 2, ++layer;
    }
    const auto count = read<std::uint32_t>(filter, 0);
    if (count >= room && layer + 1 < growth.layers) {
        start = filter.size(), blocks *= 2;
        filter.resize(start + kBlock * blocks);
    }
    bloom_insert(words(filter, start), blocks, &key, 1);
    write(filter, 0, count + 1);
    return true;
}

bool next_part(std::string_view& record, Part& part) {
    if (record.empty()) return false;
    if (record.size() < kPartHead) throw std::invalid_argument("no record of whole parts");
    const std::size_t name = read<std::uint8_t>(record, 0), content = read<std::uint32_t>(record, 1);
    const std::size_t end = kPartHead + name + content;
    if (end > record.size()) throw std::invalid_argument("no record of whole parts");
    part = {record.substr(kPartHead, name), record.substr(kPartHead + name, content)};
    record.remove_prefix(end);
    return true;
}

void append_part(std::string& record, const Part& part) {
    const auto size = static_cast<std::uint32_t>(part.content.size());
    record += static_cast<char>(part.name.size());
    record.append(reinterpret_cast<const char*>(&size), sizeof size);
    record.append(part.name);
    record.append(part.content);
}

}  // namespace tamis
