// Policies and declarations of the same queue: what is lent, what is declared, and what is refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Redeclare : public ::testing::Test {
protected:
    Redeclare() {
        rig.engine().open_session(1);
        handle = rig.producer(1, "p");
    }
    ~Redeclare() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    /// Why the declaration is refused; empty if it is not.
    std::string declare(const QueueOptions& options) {
        rig.engine().declare_queue(1, 70, "q", options, rig.now());
        rig.settle();
        const auto answer = rig.take_answer<Failure>(1, 70);
        if (!answer) return {};
        EXPECT_EQ(answer->code, Code::declared_differently);
        return answer->text;
    }
    void lend(const QueuePolicy& settings, std::string_view name = "p") {
        NamedPolicy wanted;
        wanted.name = name;
        wanted.pattern = "q";
        wanted.settings = settings;
        rig.engine().set_policy(1, 71, wanted, false, rig.now());
        rig.settle();
        EXPECT_EQ(rig.failure(1, 71), Code::ok);
    }
    void end_policy(std::string_view name = "p") {
        rig.engine().delete_policy(1, 72, name, rig.now());
        rig.settle();
        EXPECT_EQ(rig.failure(1, 72), Code::ok);
    }
    QueueView show() {
        rig.engine().show_queue(1, 73, "q", rig.now());
        rig.settle();
        return rig.take_answer<QueueView>(1, 73).value_or(QueueView{});
    }
    std::size_t send(std::size_t count) {
        std::vector<std::vector<std::byte>> messages(count, message("", "q", "x"));
        rig.publish(1, handle, next, messages);
        next += count;
        rig.settle();
        return rig.view("q").ready;
    }
    static QueuePolicy length(std::uint64_t most, Overflow overflow = Overflow::drop_head) {
        QueuePolicy policy;
        policy.max_messages = most;
        policy.overflow = overflow;
        if (overflow == Overflow::dead_letter_head) policy.dead_letter_key = "dead";
        return policy;
    }

    Rig rig;
    std::uint64_t handle = 0;
    Sequence next = 1;
};

// G70
TEST_F(Redeclare, LimitsThatAPolicyLendsCountAtOnceAndAreNoPartOfTheDeclaration) {
    QueueOptions own;
    own.policy.max_deliveries = 3;
    ASSERT_EQ(declare(own), "");
    EXPECT_EQ(send(5), 5U);
    lend(length(2));
    EXPECT_EQ(rig.view("q").ready, 2U) << "what is over the limit goes";
    EXPECT_EQ(declare(own), "") << "the declaration is still what it was";
    EXPECT_EQ(rig.view("q").ready, 2U);
    EXPECT_EQ(show().policy.max_messages, 2U);
    EXPECT_EQ(show().policy.max_deliveries, 3U);
    EXPECT_EQ(show().declared, own.policy);
    EXPECT_EQ(show().policy_name, "p");
    EXPECT_EQ(send(3), 2U);
    end_policy();
    EXPECT_EQ(declare(own), "");
    EXPECT_EQ(show().policy, own.policy);
    EXPECT_EQ(send(3), 5U) << "nothing limits it any more";
}

// G70
TEST_F(Redeclare, WhoDeclaresWhatAPolicyLendsIsToldToLeaveItOut) {
    ASSERT_EQ(declare({}), "");
    lend(length(2, Overflow::reject_publish));
    QueueOptions copied;
    copied.policy = show().policy;
    EXPECT_THAT(declare(copied),
                AllOf(HasSubstr("max_length"), HasSubstr("overflow"), HasSubstr("policy 'p'")));
    EXPECT_EQ(declare({}), "");
    // With other limits than either has.
    QueueOptions other;
    other.policy = length(7);
    EXPECT_THAT(declare(other), AllOf(HasSubstr("max_length"), Not(HasSubstr("overflow")),
                                      HasSubstr("by a policy")));
}

// G70
TEST_F(Redeclare, DeclaredLimitsStayWhateverAPolicyLends) {
    QueueOptions own;
    own.policy = length(3, Overflow::reject_publish);
    ASSERT_EQ(declare(own), "");
    EXPECT_EQ(send(5), 3U);
    QueuePolicy lent = length(1, Overflow::dead_letter_head);
    lent.max_bytes = 1;
    lent.message_ttl_ms = 60'000;
    lend(lent);
    EXPECT_EQ(rig.view("q").ready, 3U) << "the three of limits come from one of the two";
    EXPECT_EQ(show().policy.max_bytes, 0U);
    EXPECT_EQ(show().policy.overflow, Overflow::reject_publish);
    EXPECT_EQ(show().policy.message_ttl_ms, 60'000U);
    EXPECT_EQ(declare(own), "");
}

// G70, G71
TEST_F(Redeclare, IsTheSameAfterACrashACheckpointAndARestart) {
    QueueOptions own;
    own.policy.dead_letter_key = "dead";
    rig.declare(1, "dead");
    ASSERT_EQ(declare(own), "");
    lend(length(2, Overflow::dead_letter_head));
    EXPECT_EQ(send(4), 2U);
    for (int round = 0; round < 3; ++round) {
        if (round == 0) rig.crash();
        if (round == 1) rig.restart_cleanly();
        if (round == 2) {
            rig.take_checkpoint();
            rig.crash();
        }
        rig.engine().open_session(1);
        handle = rig.producer(1, "p");
        EXPECT_EQ(declare(own), "") << round;
        EXPECT_EQ(show().declared, own.policy) << round;
        EXPECT_EQ(show().policy.max_messages, 2U) << round;
        EXPECT_EQ(send(1), 2U) << round;
        QueueOptions other = own;
        other.policy.max_messages = 2;
        EXPECT_THAT(declare(other), HasSubstr("max_length")) << round;
    }
    EXPECT_EQ(rig.view("dead").ready, 5U) << "each that went over the limit, once";
}

TEST_F(Redeclare, WhatIsNoSettingOfAPolicyIsNamedToo) {
    QueueOptions own;
    own.lease_ms = 5'000;
    ASSERT_EQ(declare(own), "");
    EXPECT_EQ(declare({}), "") << "without a lease: whatever it is";
    QueueOptions other;
    other.durable = false;
    other.auto_delete = other.ordered = other.single_active = true;
    other.lease_ms = 6'000;
    EXPECT_THAT(declare(other),
                AllOf(HasSubstr("durable"), HasSubstr("auto_delete"), HasSubstr("ordered"),
                      HasSubstr("single_active"), HasSubstr("lease_ms")));
    other.passive = true;
    EXPECT_EQ(declare(other), "") << "who only asks is told";
}

/// A bad value of each setting, and the range that is allowed.
struct Bad {
    std::string setting;
    void (*spoil)(QueuePolicy&);
    std::string allowed;
};
const std::vector<Bad>& bad_values() {
    static const std::vector<Bad> all{
        {"retry_delay_ms",
         [](QueuePolicy& p) {
             p.retry = RetryKind::fixed;
             p.retry_delay_ms = limits::retry_delay_ms_max + 1;
         },
         "0 to 604800000"},
        {"retry", [](QueuePolicy& p) { p.retry = RetryKind::linear; }, "1 to 604800000"},
        {"retry_delay_max_ms",
         [](QueuePolicy& p) { p.retry_delay_max_ms = limits::retry_delay_ms_max + 1; },
         "0 to 604800000"},
        {"retry_jitter_percent", [](QueuePolicy& p) { p.retry_jitter_percent = 101; }, "0 to 100"},
        {"max_deliveries",
         [](QueuePolicy& p) { p.max_deliveries = limits::max_deliveries_max + 1; }, "0 to 1000000"},
        {"message_ttl_ms", [](QueuePolicy& p) { p.message_ttl_ms = limits::ttl_ms_max + 1; },
         "0 to 315360000000"},
        {"expires_ms", [](QueuePolicy& p) { p.expires_ms = limits::ttl_ms_max + 1; },
         "0 to 315360000000"},
        {"max_length", [](QueuePolicy& p) { p.max_messages = limits::queue_length_max + 1; },
         "0 to 1099511627776"},
        {"max_bytes", [](QueuePolicy& p) { p.max_bytes = limits::queue_bytes_max + 1; },
         "0 to 1125899906842624"},
        {"overflow", [](QueuePolicy& p) { p.overflow = Overflow::reject_publish; },
         "needs max_length or max_bytes"},
        {"dedupe_window_ms",
         [](QueuePolicy& p) { p.dedupe_window_ms = limits::dedupe_window_ms_max + 1; },
         "0 to 604800000"},
        {"dedupe_max_ids",
         [](QueuePolicy& p) {
             p.dedupe_window_ms = 1;
             p.dedupe_max_ids = limits::dedupe_ids_max + 1;
         },
         "0 to 1000000"},
        {"dead_letter_exchange", [](QueuePolicy& p) { p.dead_letter_exchange = "no name"; },
         "1 to 255 of a-z"},
        {"dead_letter_key", [](QueuePolicy& p) { p.dead_letter_key = std::string(256, 'k'); },
         "at most 255 bytes"},
    };
    return all;
}

// G70
TEST_F(Redeclare, ABadValueOfEverySettingIsRefusedWithWhatIsAllowedAndNothingChanges) {
    for (const Bad& bad : bad_values()) {
        QueuePolicy settings;
        bad.spoil(settings);
        const auto fits = AllOf(HasSubstr(bad.setting), HasSubstr(bad.allowed));
        EXPECT_THAT(complaint_of(settings), fits) << bad.setting;
        const std::size_t records = rig.journal().records().size();
        QueueOptions options;
        options.policy = settings;
        rig.engine().declare_queue(1, 80, "new", options, rig.now());
        const auto declared = rig.take_answer<Failure>(1, 80);
        ASSERT_TRUE(declared) << bad.setting;
        EXPECT_EQ(declared->code, Code::bad_option);
        EXPECT_THAT(declared->text, fits);
        NamedPolicy policy;
        policy.name = "p";
        policy.pattern = "*";
        policy.settings = settings;
        rig.engine().set_policy(1, 81, policy, false, rig.now());
        const auto set = rig.take_answer<Failure>(1, 81);
        ASSERT_TRUE(set) << bad.setting;
        EXPECT_EQ(set->code, Code::bad_option);
        EXPECT_THAT(set->text, fits);
        EXPECT_EQ(rig.journal().records().size(), records) << bad.setting;
    }
}

TEST(PolicySettings, NoneIsForgottenByTheTableOfBadValues) {
    // Every setting that a policy can have is one in which two policies can differ.
    QueuePolicy all;
    all.retry = RetryKind::fixed;
    all.retry_delay_ms = all.retry_delay_max_ms = 1;
    all.retry_jitter_percent = all.max_deliveries = 1;
    all.dead_letter_exchange = all.dead_letter_key = "d";
    all.message_ttl_ms = all.expires_ms = all.max_messages = all.max_bytes = 1;
    all.overflow = Overflow::dead_letter_head;
    all.dedupe_window_ms = all.dedupe_max_ids = 1;
    std::vector<std::string> known;
    for (const Bad& bad : bad_values()) known.push_back(bad.setting);
    EXPECT_THAT(differences(all, {}), ::testing::UnorderedElementsAreArray(known));
    EXPECT_THAT(differences(all, all), IsEmpty());
    all.priorities = true;
    EXPECT_THAT(differences(all, {}), ::testing::Contains("priorities"));
}

}  // namespace
}  // namespace ferry::engine::testing
