#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ferry/engine/types.hpp"
#include "varint.hpp"

namespace ferry::engine {

/// Messages whose producers have not decided about them, when they are to be asked, and what was
/// decided lately. Their bytes are in memory, and in checkpoints: the record of a prepared message
/// keeps no segment of the log alive. What changes here changes by records only, but for `again`.
///
/// Threads   The engine's.
class PreparedMessages {
public:
    struct Kept {
        Prepared prepared;
        // Not before, by the steady clock: the last attempt to ask failed. A restart forgets it.
        std::uint64_t again = 0;
        Unasked unasked = Unasked::none;
    };
    struct Decision {
        bool submitted = false;
        std::uint64_t wall_ms = 0;
    };
    using Map = std::map<std::string, Kept, std::less<>>;

    [[nodiscard]] const Map& all() const { return all_; }
    [[nodiscard]] Kept* find(std::string_view id);
    [[nodiscard]] const Decision* decision(std::string_view id) const;
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::uint64_t parked() const { return parked_; }
    /// Whether one more with a message of so many bytes is within the limits.
    [[nodiscard]] bool has_room(std::size_t message_bytes) const;

    /// Requires  no other of this id.
    Kept& add(Prepared prepared);
    /// It is gone, and remembered as decided; forgets what was decided long ago.
    void decide(const std::string& id, bool submitted, std::uint64_t steady_ms,
                std::uint64_t wall_ms);
    void asked(Kept& kept, std::uint64_t wall_ms, std::uint64_t next_check);
    void park(Kept& kept);
    void resume(Kept& kept, std::uint64_t steady_ms);
    void try_again(Kept& kept, Unasked unasked, std::uint64_t steady_ms);

    /// The one that is to be asked for next, and when; null: none.
    [[nodiscard]] const std::pair<std::uint64_t, std::string>* next() const;

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    struct Decided {
        std::string id;
        std::uint64_t steady_ms = 0;
    };
    void arm(const Kept& kept);
    void disarm(const Kept& kept);
    void remember(std::string id, const Decision& decision, std::uint64_t steady_ms);

    Map all_;
    std::set<std::pair<std::uint64_t, std::string>> alarms_;  // by due()
    std::uint64_t bytes_ = 0;
    std::uint64_t parked_ = 0;
    std::map<std::string, Decision, std::less<>> decisions_;
    std::deque<Decided> decided_;  // in order
};

/// Empty if such a message can be kept; otherwise what is wrong with it and what is allowed.
[[nodiscard]] std::string complaint_of(const Prepared& prepared);
/// The same, with its parts before it, in a record or checkpoint. reject()ed if it cannot be kept.
void put_prepared(std::vector<std::byte>& out, const Prepared& prepared);
[[nodiscard]] Prepared get_prepared(Reader& in);
/// How long after check number `checks` (0: after prepare) the next one is due.
[[nodiscard]] std::uint64_t distance_ms(const Prepared& prepared, std::uint32_t checks);

}  // namespace ferry::engine
