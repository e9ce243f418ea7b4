#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "ferry/platform/random.hpp"
#include "story.hpp"

// A queue that does everything right, driven at random: nothing may be found in what it did. And
// with one thing made wrong in what it did, that has to be found, whatever else happened.
namespace ferry::history {
namespace {

class PerfectQueue {
public:
    explicit PerfectQueue(std::uint64_t seed) : random_(seed) {
        story_.rules.brokers = {Story::broker};
        story_.rules.windows = {{Story::one, window}, {Story::two, window}};
        story_.rules.broker_order = true;
        story_.rules.attempts = Attempts::exact;
        story_.rules.ordered_queues = {1};
        story_.rules.stuck_ns = 3'600'000'000'000;
    }

    Story run(int steps) {
        for (int i = 0; i < steps; ++i) step();
        while (!live_.empty()) settle(true);
        while (deliver()) settle(true);
        story_.drained();
        return std::move(story_);
    }

private:
    static constexpr std::uint32_t window = 3;

    struct Message {
        std::uint64_t id = 0;
        std::uint64_t key = 0;
        std::uint64_t position = 0;
        std::uint32_t attempts = 0;
    };
    struct Held {
        Message message;
        std::uint64_t token = 0;
        std::uint32_t holder = 0;
    };

    void step() {
        switch (random_.below(12)) {
            case 0:
            case 1:
            case 2:
                return publish();
            case 3:
            case 4:
            case 5:
                deliver();
                return;
            case 6:
            case 7:
                return settle(true);
            case 8:
                return settle(false);
            case 9:
                return poll();
            case 10:
                return depth();
            default:
                return random_.below(3) == 0 ? crash() : lapse();
        }
    }

    Event& note(What what, Type type, const Message& message, std::uint32_t process) {
        Event& event = story_.add(what, type, message.id, process);
        event.key = what == What::publish ? message.key : 0;
        return event;
    }

    void publish() {
        Message message;
        message.id = ++ids_;
        message.key = random_.below(3);
        note(What::publish, Type::invoke, message, Story::producer).payload = message.id * 31;
        const std::uint64_t fate = random_.below(10);
        if (fate == 0) {
            note(What::publish, Type::fail, message, Story::producer);
            return;
        }
        if (fate != 1) {
            message.position = next_position_ += 8;
            ready_.push_back(message);
        }
        if (fate <= 2) {
            note(What::publish, Type::info, message, Story::producer);
        } else {
            note(What::publish, Type::ok, message, Story::producer).position = message.position;
        }
    }

    /// False: nothing is ready, or nobody has room.
    bool deliver() {
        for (const std::uint32_t who : {Story::one, Story::two}) {
            const auto has = std::count_if(live_.begin(), live_.end(),
                                           [&](const Held& held) { return held.holder == who; });
            if (has >= window) continue;
            for (auto next = ready_.begin(); next != ready_.end(); ++next) {
                if (next->key != 0 &&
                    std::any_of(live_.begin(), live_.end(),
                                [&](const Held& held) { return held.message.key == next->key; })) {
                    continue;
                }
                hand_out(who, *next);
                ready_.erase(next);
                return true;
            }
        }
        return false;
    }

    void hand_out(std::uint32_t who, Message message) {
        ++message.attempts;
        Event& event = note(What::deliver, Type::ok, message, who);
        event.position = message.position;
        event.lease = next_position_ += 8;
        event.attempt = message.attempts;
        event.redelivered = message.attempts > 1;
        event.payload = message.id * 31;
        live_.push_back({message, event.lease, who});
    }

    void give_back(const Message& message) {
        const auto place = std::find_if(ready_.begin(), ready_.end(), [&](const Message& other) {
            return other.position > message.position;
        });
        ready_.insert(place, message);
    }

    void settle(bool ack) {
        if (live_.empty()) return;
        const auto which = live_.begin() + static_cast<std::ptrdiff_t>(random_.below(live_.size()));
        const Held held = *which;
        const What what = ack ? What::ack : What::nack;
        note(what, Type::invoke, held.message, held.holder).lease = held.token;
        live_.erase(which);
        if (!ack) give_back(held.message);
        const bool heard = random_.below(10) != 0;
        note(what, heard ? Type::ok : Type::info, held.message, held.holder).lease = held.token;
        // A late ack of a lease that is over is refused.
        if (!ack && random_.below(4) == 0) {
            note(What::ack, Type::invoke, held.message, held.holder).lease = held.token;
            note(What::ack, Type::fail, held.message, held.holder).lease = held.token;
        }
    }

    void lapse() {
        if (live_.empty()) return;
        const Held held = live_.front();
        live_.erase(live_.begin());
        note(What::lease_ended, Type::ok, held.message, Story::broker).lease = held.token;
        give_back(held.message);
    }

    void crash() {
        const bool broker = random_.below(2) == 0;
        story_.crash(broker ? Story::broker : Story::one);
        for (std::size_t i = live_.size(); i-- > 0;) {
            if (!broker && live_[i].holder != Story::one) continue;
            give_back(live_[i].message);
            live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }

    void poll() {
        if (!ready_.empty()) return;
        story_.add(What::poll, Type::invoke, 0, 77);
        story_.add(What::poll, Type::ok, 0, 77);
    }

    void depth() {
        Event& event = story_.add(What::depth, Type::ok, 0, Story::broker);
        event.position = ready_.size();
        event.lease = live_.size();
    }

    SeededRandom random_;
    Story story_;
    std::vector<Message> ready_;
    std::vector<Held> live_;
    std::uint64_t ids_ = 0;
    std::uint64_t next_position_ = 4096;
};

/// A message that was published once, confirmed, and settled at its first delivery.
std::optional<std::uint64_t> calm_message(const History& history) {
    std::map<std::uint64_t, int> events;
    std::set<std::uint64_t> confirmed;
    for (const Event& event : history) {
        if (event.id != 0) ++events[event.id];
        if (event.what == What::publish && event.type == Type::ok) confirmed.insert(event.id);
    }
    for (const Event& event : history) {
        if (event.what == What::ack && event.type == Type::ok && events[event.id] == 5 &&
            confirmed.count(event.id) != 0) {
            return event.id;
        }
    }
    return std::nullopt;
}

bool has(const Story& story, std::initializer_list<Violation> any) {
    const Report report = check(story.history, story.rules);
    return std::any_of(any.begin(), any.end(),
                       [&](Violation what) { return report.find(what) != nullptr; });
}

Event event_of(const Story& story, std::uint64_t id, What what, Type type) {
    for (const Event& event : story.history) {
        if (event.id == id && event.what == what && event.type == type) return event;
    }
    return {};
}

/// Before the event `drained`, which stays the last.
void append(Story& story, Event event) {
    event.time_ns = story.history.back().time_ns;
    story.history.insert(story.history.end() - 1, event);
}

TEST(RandomHistories, OfAQueueThatIsRightAreClean) {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        const Story story = PerfectQueue(seed).run(200);
        const Report report = check(story.history, story.rules);
        ASSERT_TRUE(report.clean()) << "seed " << seed << "\n" << text_of(report, story.history);
    }
}

TEST(RandomHistories, WithOneThingWrongAreNot) {
    int judged = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        const Story right = PerfectQueue(seed).run(150);
        const auto id = calm_message(right.history);
        if (!id) continue;
        ++judged;
        const Event delivered = event_of(right, *id, What::deliver, Type::ok);

        Story lost = right;
        std::erase_if(lost.history, [&](const Event& event) {
            return event.id == *id && event.what != What::publish;
        });
        EXPECT_TRUE(
            has(lost, {Violation::lost_prefix, Violation::lost_middle, Violation::lost_suffix}))
            << seed;

        Story undelivered = right;
        std::erase_if(undelivered.history, [&](const Event& event) {
            return event.id == *id && event.what == What::ack;
        });
        EXPECT_TRUE(has(undelivered, {Violation::lost_delivery})) << seed;

        Story again = right;
        Event second = delivered;
        second.lease += 1'000'000;
        second.attempt = 2;
        second.redelivered = true;
        append(again, second);
        EXPECT_TRUE(has(again, {Violation::acked_redelivery})) << seed;

        Story moved = right;
        second.position += 1'000'000;
        append(moved, second);
        EXPECT_TRUE(has(moved, {Violation::duplicate_append})) << seed;

        Story stranger = right;
        second.id = 1'000'000;
        append(stranger, second);
        EXPECT_TRUE(has(stranger, {Violation::phantom_unknown})) << seed;

        Story changed = right;
        for (Event& event : changed.history) {
            if (event.id == *id && event.what == What::deliver) event.payload ^= 1;
        }
        EXPECT_TRUE(has(changed, {Violation::phantom_changed})) << seed;
    }
    EXPECT_GT(judged, 80);
}

}  // namespace
}  // namespace ferry::history
