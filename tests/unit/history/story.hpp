#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "ferry/history/checker.hpp"

namespace ferry::history {

/// Writes a history a millisecond per event. Queue 1, producer 1 and consumers from 10 on, unless
/// told otherwise; a message's position is 4096 + id.
class Story {
public:
    static constexpr std::uint32_t producer = 1;
    static constexpr std::uint32_t broker = 9;
    static constexpr std::uint32_t one = 10;
    static constexpr std::uint32_t two = 11;

    Story() { rules.brokers = {broker}; }

    Event& add(What what, Type type, std::uint64_t id, std::uint32_t process) {
        now_ms += 1;
        Event event;
        event.process = process;
        event.time_ns = now_ms * 1'000'000;
        event.type = type;
        event.what = what;
        event.queue = queue;
        event.id = id;
        history.push_back(event);
        return history.back();
    }

    Story& ask(std::uint64_t id, std::uint64_t key = 0) {
        Event& event = add(What::publish, Type::invoke, id, producer);
        event.key = key;
        event.payload = id * 31;
        return *this;
    }
    Story& told(std::uint64_t id, Type type = Type::ok, std::uint64_t position = 0) {
        Event& event = add(What::publish, type, id, producer);
        if (type == Type::ok) event.position = position == 0 ? 4096 + id : position;
        return *this;
    }
    Story& publish(std::uint64_t id, std::uint64_t key = 0) { return ask(id, key).told(id); }
    Story& commit(std::uint64_t id, Type type = Type::ok) {
        add(What::commit, Type::invoke, id, producer);
        add(What::commit, type, id, producer);
        return *this;
    }
    Story& deliver(std::uint64_t id, std::uint64_t lease = 0, std::uint32_t attempt = 1,
                   std::uint32_t to = one) {
        Event& event = add(What::deliver, Type::ok, id, to);
        event.position = 4096 + id;
        event.lease = lease == 0 ? 4096 + id : lease;
        event.attempt = attempt;
        event.redelivered = attempt > 1;
        event.payload = id * 31;
        return *this;
    }
    Story& settle(What what, Type type, std::uint64_t id, std::uint64_t lease = 0,
                  std::uint32_t from = one) {
        add(what, type, id, from).lease = lease == 0 ? 4096 + id : lease;
        return *this;
    }
    Story& ack(std::uint64_t id, std::uint64_t lease = 0, std::uint32_t from = one) {
        settle(What::ack, Type::invoke, id, lease, from);
        return settle(What::ack, Type::ok, id, lease, from);
    }
    Story& nack(std::uint64_t id, std::uint64_t lease = 0, std::uint32_t from = one) {
        settle(What::nack, Type::invoke, id, lease, from);
        return settle(What::nack, Type::ok, id, lease, from);
    }
    Story& lapse(std::uint64_t id, std::uint64_t lease = 0) {
        return settle(What::lease_ended, Type::ok, id, lease);
    }
    Story& effect(std::uint64_t id) {
        add(What::effect, Type::ok, id, one);
        return *this;
    }
    Story& crash(std::uint32_t process) {
        add(What::crash, Type::ok, 0, process);
        return *this;
    }
    Story& drained() {
        add(What::drained, Type::ok, 0, 0).queue = 0;
        return *this;
    }
    /// The normal life of a message.
    Story& life(std::uint64_t id, std::uint64_t key = 0) {
        return publish(id, key).deliver(id).ack(id);
    }
    Story& wait_ms(std::uint64_t ms) {
        now_ms += ms;
        return *this;
    }

    History history;
    Rules rules;
    std::uint32_t queue = 1;
    std::uint64_t now_ms = 0;
};

/// Nothing at all is wrong.
inline void expect_clean(const Story& story) {
    const Report report = check(story.history, story.rules);
    EXPECT_TRUE(report.clean()) << text_of(report, story.history);
}

/// These are wrong, and nothing else.
inline void expect_only(const Story& story, const std::set<Violation>& wanted) {
    const Report report = check(story.history, story.rules);
    std::set<Violation> got;
    for (const Finding& finding : report.findings) got.insert(finding.what);
    std::string names;
    for (const Violation violation : wanted) names += " " + std::string(name_of(violation));
    EXPECT_EQ(got, wanted) << "wanted:" << names << "\n" << text_of(report, story.history);
}

}  // namespace ferry::history
