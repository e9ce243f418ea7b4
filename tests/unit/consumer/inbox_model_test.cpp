#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "ferry/consumer/inbox.hpp"
#include "ferry/platform/random.hpp"
#include "inbox_rig.hpp"

namespace ferry::consumer {
namespace {

using test::InboxRig;
using test::make_incoming;
using test::outbox_id;
using test::Sent;

// A producer, a broker's queue and a consumer in a few lines: messages are published with the
// producer's floor, delivered in any order, applied, acked or not, dead-lettered with or without
// having been applied, sent back, and the inbox tidies up in between and crashes now and then.
class Model {
public:
    explicit Model(std::uint64_t seed) : random_(seed) { open(); }

    void step() {
        switch (random_.below(8)) {
            case 0:
            case 1:
                return publish();
            case 2:
            case 3:
            case 4:
                return deliver();
            case 5:
                return send_back();
            case 6:
                ASSERT_TRUE(inbox_->tend({"queue", "log", floor()}).ok());
                return;
            default:
                if (random_.below(10) == 0) crash();
        }
    }

    void finish() {
        for (int i = 0; i < 10'000 && !(queue_.empty() && dead_.empty()); ++i) {
            if (queue_.empty()) send_back();
            if (!queue_.empty()) deliver();
        }
        ASSERT_TRUE(inbox_->tend({"queue", "log", floor()}).ok());
        EXPECT_EQ(rig_.effects(), static_cast<std::int64_t>(here_.size()));
        EXPECT_EQ(rig_.count("SELECT count(DISTINCT id) FROM effect"),
                  static_cast<std::int64_t>(here_.size()));
    }

private:
    struct Stored {
        Sent sent;
        std::uint64_t sequence;
        std::uint64_t attempt = 0;
    };

    void open() { inbox_ = rig_.inbox(); }
    void crash() {
        inbox_.reset();
        InboxRig::must(rig_.database->run("UPDATE ferry_inbox_consumer SET running = 1"));
        open();
    }
    std::uint64_t floor() const { return queue_.empty() ? position_ : queue_.begin()->first; }

    void publish() {
        const std::uint64_t sequence = ++sequence_;
        if (random_.below(2) == 0) return;  // to another queue
        const auto floor = static_cast<std::int64_t>(sequence - random_.below(3));
        here_.insert(sequence);
        queue_[position_++] = {
            {"x", outbox_id(sequence), "", {{"ferry-floor", std::max<std::int64_t>(1, floor)}}},
            sequence,
            0};
        // The floor is of stored ones: everything below was stored before, as here.
    }

    void deliver() {
        if (queue_.empty()) return;
        auto at = queue_.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(
                             random_.below(std::min<std::uint64_t>(queue_.size(), 10))));
        Stored& stored = at->second;
        ++stored.attempt;
        const auto message = make_incoming(stored.sent, at->first, stored.attempt);
        const bool fails = random_.below(4) == 0;
        const Handled handled = inbox_->apply(message, [&](Effects& effects) {
            InboxRig::effect(effects);
            return fails ? Handled::retry("no") : Handled::done();
        });
        const bool applied = !applied_.insert(stored.sequence).second;
        if (handled.kind == Handled::Kind::done) {
            EXPECT_EQ(handled.duplicate, applied) << stored.sent.id;
        } else {
            EXPECT_FALSE(applied);
            applied_.erase(stored.sequence);
        }
        const std::vector<std::string> ids{stored.sent.id};
        if (handled.kind == Handled::Kind::done && random_.below(4) != 0) {
            inbox_->settled(ids);
            queue_.erase(at);
            return;
        }
        if (handled.kind == Handled::Kind::done) inbox_->unsettled(ids);
        if (stored.attempt >= 3) {  // the broker gives it up, applied or not
            dead_.push_back(stored);
            queue_.erase(at);
        }
    }

    void send_back() {
        if (dead_.empty()) return;
        Stored stored = dead_.back();
        dead_.pop_back();
        stored.attempt = 0;
        if (stored.sent.headers.size() == 1) {
            stored.sent.headers.emplace_back("ferry-death-reason", std::string("max deliveries"));
        }
        queue_[position_++] = stored;
    }

    SeededRandom random_;
    InboxRig rig_;
    std::unique_ptr<Inbox> inbox_;
    std::map<std::uint64_t, Stored> queue_;
    std::vector<Stored> dead_;
    std::set<std::uint64_t> here_;
    std::set<std::uint64_t> applied_;
    std::uint64_t sequence_ = 0;
    std::uint64_t position_ = 1000;
};

// C7, C9, C13, I3, G30, G34
TEST(InboxModel, WhateverHappensEachMessageHasOneEffect) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        SCOPED_TRACE(seed);
        Model model(seed);
        for (int i = 0; i < 250; ++i) model.step();
        model.finish();
        if (testing::Test::HasFailure()) return;
    }
}

}  // namespace
}  // namespace ferry::consumer
