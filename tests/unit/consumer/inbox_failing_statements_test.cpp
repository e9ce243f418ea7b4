// An inbox one or some of whose statements fail, whichever: every effect happens once all the same.

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "failing_statements.hpp"
#include "ferry/consumer/inbox.hpp"
#include "inbox_rig.hpp"

namespace ferry::consumer {
namespace {

using test::FailingStatements;
using test::InboxRig;
using test::make_incoming;
using test::outbox_id;
using Kind = Handled::Kind;
using When = FailingStatements::When;

constexpr int attempts_max = 10;
constexpr std::int64_t different = 6;

/// Of an outbox (one of them twice), and two whose ids are the publisher's own.
std::vector<Incoming> some_messages() {
    std::vector<Incoming> messages;
    for (const std::uint64_t sequence : {1, 2, 2, 4}) {
        const std::string payload = std::to_string(messages.size());
        messages.push_back(make_incoming({payload, outbox_id(sequence), "a"}));
    }
    messages.push_back(make_incoming({"x", "order-17", "b"}));
    messages.push_back(make_incoming({"y", "order-18", ""}));
    messages.push_back(make_incoming({"z", outbox_id(3), "b"}));
    return messages;
}

class InboxFailingStatements
    : public testing::TestWithParam<std::tuple<When, bool, std::uint32_t>> {
protected:
    /// Delivers what is not done again and again, as a broker does. False: it came to no end.
    static bool deliver(InboxRig& rig) {
        InboxOptions options = InboxRig::named("c");
        options.repeatable = std::get<1>(GetParam());
        std::unique_ptr<Inbox> inbox;
        for (int i = 0; i < attempts_max && inbox == nullptr; ++i) {
            auto opened = Inbox::open(rig.path, options);
            if (opened.ok()) inbox = std::move(opened).value();
        }
        if (inbox == nullptr) return false;
        std::vector<Incoming> left = some_messages();
        // One changes its mind after it has written: its transaction is undone without any failure.
        bool minded = false;
        const auto effect = [&](Effects& effects) {
            const Handled done = InboxRig::effect(effects);
            if (minded || effects.message().payload() != "y") return done;
            minded = true;
            return Handled::retry("not yet");
        };
        for (int i = 0; i < attempts_max && !left.empty(); ++i) {
            std::vector<Handled> handled(left.size());
            // Now together and now one by one: both ways meet what the other left.
            if (i % 2 == 0) {
                inbox->apply_batch(left, handled, effect);
            } else {
                handled[0] = inbox->apply(left[0], effect);
                for (std::size_t k = 1; k < left.size(); ++k)
                    handled[k] = Handled::later("not tried");
            }
            std::vector<Incoming> again;
            for (std::size_t k = 0; k < left.size(); ++k) {
                if (handled[k].kind != Kind::done) again.push_back(std::move(left[k]));
            }
            left = std::move(again);
        }
        return left.empty();
    }
};

TEST_P(InboxFailingStatements, OneThatFailsDoublesAndLosesNoEffect) {
    std::uint32_t reached = 0;
    for (std::uint32_t nth = 1;; ++nth) {
        SCOPED_TRACE("statement " + std::to_string(nth));
        InboxRig rig;
        FailingStatements statements;
        statements.watch_new();
        statements.fail(std::get<When>(GetParam()), nth, std::get<2>(GetParam()));
        const bool came_to_an_end = deliver(rig);
        statements.watch_no_more();
        ASSERT_TRUE(came_to_an_end);
        ASSERT_EQ(rig.effects(), different);
        ASSERT_EQ(rig.count("SELECT count(DISTINCT id) FROM effect"), different);
        // Whoever comes later finds the marks of all of them.
        auto later = rig.inbox();
        for (const Incoming& message : some_messages()) {
            ASSERT_TRUE(later->apply(message, InboxRig::effect).duplicate) << message.id();
        }
        if (!statements.failed()) break;
        ++reached;
    }
    EXPECT_GT(reached, 20U);
}

INSTANTIATE_TEST_SUITE_P(, InboxFailingStatements,
                         testing::Combine(testing::Values(When::prepared, When::run),
                                          testing::Bool(), testing::Values(1U, 3U)),
                         [](const auto& tested) {
                             return std::string(name_of(std::get<When>(tested.param))) +
                                    (std::get<1>(tested.param) ? "Together" : "OneByOne") +
                                    std::to_string(std::get<2>(tested.param));
                         });

}  // namespace
}  // namespace ferry::consumer
