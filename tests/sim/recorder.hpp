#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ferry/history/history.hpp"
#include "world.hpp"

namespace ferry::simulation {

inline constexpr std::uint32_t broker_process = 1;

/// What a message is, whoever carries it.
struct Note {
    std::uint64_t id = 0;
    std::uint32_t queue = 0;  // from 1
    std::uint64_t key = 0;
    std::uint64_t payload = 0;
    std::uint64_t life_ns = 0;  // from when the broker has it; 0: for ever
};

/// Sets a publish's expires_ns: what it may be at the least or, when it is confirmed, at the most.
void set_life(history::Event& event, const Note& note, std::uint64_t now_ns);

/// The payload of a message: its number, and bytes that follow from it.
[[nodiscard]] std::string payload_of(std::uint64_t id, std::uint64_t bytes);
/// 0: it is none.
[[nodiscard]] std::uint64_t id_in(std::string_view payload);
[[nodiscard]] std::uint64_t hash_of(std::string_view payload);

/// Writes the history. What the broker says is noted when it hands it to the network: in the order
/// in which it did things, and also where nobody hears it.
class Recorder {
public:
    explicit Recorder(World& world) : world_(world) {}

    [[nodiscard]] std::uint64_t new_id() { return ++last_id_; }
    [[nodiscard]] std::uint64_t new_group() { return ++last_group_; }
    void add(history::Event event);
    /// A try of publishing begins; nothing if one is under way already.
    void publish_sent(std::uint32_t process, std::uint64_t epoch, std::uint64_t seq,
                      const Note& note);
    /// How it ended: ok, fail, or info when the connection went.
    void published(std::uint32_t process, std::uint64_t epoch, std::uint64_t seq,
                   history::Type how);
    void connection_lost(std::uint32_t process);

    [[nodiscard]] const history::History& history() const { return history_; }
    [[nodiscard]] history::History& history() { return history_; }

private:
    struct Try {
        Note note;
        bool under_way = false;
    };
    using Key = std::pair<std::uint64_t, std::uint64_t>;  // epoch, sequence

    World& world_;
    history::History history_;
    std::uint64_t last_id_ = 0;
    std::uint64_t last_group_ = 0;
    std::map<std::uint32_t, std::map<Key, Try>> tries_;  // by process
    std::map<std::uint32_t, std::set<Key>> under_way_;
};

}  // namespace ferry::simulation
