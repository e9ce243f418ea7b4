#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ferry/consumer/incoming.hpp"
#include "ferry/platform/clock.hpp"

namespace ferry::consumer {

/// One message that this process holds.
struct Held {
    Incoming message;  // empty while it runs: the handler's thread has it
    // Of the newest delivery; a redelivery may come while an earlier one runs.
    transport::DeliveryTag tag;
    std::uint64_t position = 0;
    std::uint64_t attempt = 1;
    std::uint64_t token = 0;
    std::uint64_t failures = 0;  // attempts that failed here
    std::uint64_t delays = 0;    // consecutive Handled::later
    bool poison = false;         // given up; waits to be put with the dead letters
    std::string poison_reason;
    bool unplaced = false;  // given up, but there is no place for it
    bool stale = false;     // its lease is lost; runs to its end, is not begun
    bool running = false;   // in a handler
    Instant since;          // running since

    /// As new, but for its message and its delivery.
    void reset() {
        failures = 0;
        delays = 0;
        poison = false;
        poison_reason.clear();
        unplaced = false;
        stale = false;
        running = false;
    }
    /// A handler did not finish with it; its newest delivery counts.
    void put_back(Incoming&& given_back) {
        message = std::move(given_back);
        transport::Delivery newest;
        newest.tag = tag;
        newest.attempt = attempt;
        newest.token = token;
        message.take_over(newest);
    }
};

/// Messages of one ordering key, or a single one without a key.
struct Lane {
    std::string key;        // empty: none
    std::size_t place = 0;  // among those without a key
    std::deque<std::unique_ptr<Held>> messages;
    std::size_t taken = 0;  // from the front, in a handler
    bool delayed = false;
    Instant due;
};

/// Which held message may run when. A plain data structure: no threads, no clock; the runtime locks
/// around it.
///
/// Order   A lane is in exactly one place: ready, delayed or taken. Ready lanes are served in turn.
class Lanes {
public:
    struct Work {
        Lane* lane = nullptr;
        Held* held = nullptr;
    };
    struct Verdict {
        Held* held = nullptr;
        bool remove = true;
        Instant due;  // when not removed: not before
    };

    /// Takes a delivery. False: this message (by its position) is held already; the delivery took
    /// over the tag of the one before, and nothing else changed.
    ///
    /// With a `poison_reason` it is poison from the start.
    bool push(Incoming&& message, std::string poison_reason = {});
    /// Takes a message that is in a handler already, or has just been, as if take() had given it.
    ///
    /// Requires  free_for() its position and its key.
    Work push_taken(Incoming&& message, Instant now);
    /// Nothing that is held stands before it, and it is not held itself.
    [[nodiscard]] bool free_for(std::uint64_t position, std::string_view ordering_key) const;
    /// Up to `at_most` messages that may run now: consecutive ones of a lane, then the next lane's.
    /// Poison comes alone, and first of its lane.
    [[nodiscard]] std::vector<Work> take(Instant now, std::size_t at_most);
    /// Ends what take() gave for this lane; verdicts in the order of its messages. What stands
    /// behind a message that stays waits with it.
    void finish(Lane* lane, std::span<const Verdict> verdicts);
    /// Moves delayed lanes whose time has come to the ready ones.
    void wake(Instant now);
    /// When the next delayed lane is due; false: none.
    [[nodiscard]] bool next_due(Instant& due) const;
    /// Drops what has not begun and is of an earlier connection than `generation`: it was given
    /// back and comes again. Running ones become stale.
    void drop_before(std::uint64_t generation);
    /// The same for single tags.
    void lose(const transport::DeliveryTag& tag);
    /// Drops all that has not begun and returns its tags.
    std::vector<transport::DeliveryTag> drop_waiting();
    /// Tags of everything held whose lease is not lost.
    [[nodiscard]] std::vector<transport::DeliveryTag> tags() const;

    [[nodiscard]] bool any_ready() const { return !ready_.empty(); }
    [[nodiscard]] std::size_t held() const { return by_position_.size(); }
    [[nodiscard]] std::size_t running() const { return running_; }
    [[nodiscard]] std::size_t delayed() const { return delayed_.size(); }
    [[nodiscard]] std::size_t unplaced() const;
    [[nodiscard]] std::size_t running_since_before(Instant moment) const;

private:
    using Delayed = std::multimap<Instant, Lane*>;

    void place(Lane* lane);
    Lane* single_lane();
    Lane* lane_of(const Held& held);
    void remove_lane(Lane* lane);
    std::unique_ptr<Held> new_held();
    std::unique_ptr<Held> take_back(Lane* lane, const Verdict& verdict);
    void forget(std::unique_ptr<Held> held);
    template <class Drop>
    void drop_waiting_if(const Drop& drop);

    /// Finds keys where they lie, in a message's bytes.
    struct KeyHash {
        using is_transparent = void;
        std::size_t operator()(std::string_view key) const {
            return std::hash<std::string_view>()(key);
        }
    };

    std::unordered_map<std::string, std::unique_ptr<Lane>, KeyHash, std::equal_to<>> keyed_;
    std::vector<std::unique_ptr<Lane>> single_;
    // Ended ones, kept for their memory; at most spare_max.
    std::vector<std::unique_ptr<Lane>> spare_lanes_;
    std::vector<std::unique_ptr<Held>> spare_held_;
    std::deque<Lane*> ready_;
    Delayed delayed_;
    std::unordered_map<std::uint64_t, Held*> by_position_;
    std::size_t running_ = 0;
};

}  // namespace ferry::consumer
