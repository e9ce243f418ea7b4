#include "recorder.hpp"

namespace ferry::simulation {

using history::Event;
using history::Type;
using history::What;

std::string payload_of(std::uint64_t id, std::uint64_t bytes) {
    std::string text = "m" + std::to_string(id) + ":";
    std::uint64_t word = id;
    while (text.size() < bytes) {
        word = mix(word, text.size());
        text.push_back(static_cast<char>('a' + word % 26));
    }
    return text;
}

std::uint64_t id_in(std::string_view payload) {
    if (payload.empty() || payload.front() != 'm') return 0;
    std::uint64_t id = 0;
    for (const char c : payload.substr(1)) {
        if (c < '0' || c > '9') break;
        id = id * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return id;
}

std::uint64_t hash_of(std::string_view payload) {
    std::uint64_t hash = payload.size();
    for (const char c : payload) hash = mix(hash, static_cast<unsigned char>(c));
    return hash;
}

void set_life(Event& event, const Note& note, std::uint64_t now_ns) {
    if (note.life_ns == 0) return;
    event.expires_ns = now_ns + note.life_ns;
    // A queue's time to live is rounded up by as much.
    if (event.type == Type::ok) event.expires_ns += note.life_ns / 256 + ms;
}

void Recorder::add(Event event) {
    event.time_ns = world_.now_ns();
    history_.push_back(event);
}

void Recorder::publish_sent(std::uint32_t process, std::uint64_t epoch, std::uint64_t seq,
                            const Note& note) {
    Try& entry = tries_[process][{epoch, seq}];
    entry.note = note;
    if (entry.under_way) return;
    entry.under_way = true;
    under_way_[process].insert({epoch, seq});
    Event event;
    event.process = process;
    event.type = Type::invoke;
    event.what = What::publish;
    event.queue = note.queue;
    event.key = note.key;
    event.id = note.id;
    event.epoch = epoch;
    event.seq = seq;
    event.payload = note.payload;
    set_life(event, note, world_.now_ns());
    add(event);
}

void Recorder::published(std::uint32_t process, std::uint64_t epoch, std::uint64_t seq, Type how) {
    const auto at = tries_[process].find({epoch, seq});
    if (at == tries_[process].end()) return;
    if (!at->second.under_way) return;
    at->second.under_way = false;
    under_way_[process].erase({epoch, seq});
    const Note& note = at->second.note;
    Event event;
    event.process = process;
    event.type = how;
    event.what = What::publish;
    event.queue = note.queue;
    event.key = note.key;
    event.id = note.id;
    event.epoch = epoch;
    event.seq = seq;
    event.payload = note.payload;
    if (how == Type::ok) set_life(event, note, world_.now_ns());
    add(event);
}

void Recorder::connection_lost(std::uint32_t process) {
    const std::set<Key> open = under_way_[process];
    for (const Key& key : open) published(process, key.first, key.second, Type::info);
}

}  // namespace ferry::simulation
