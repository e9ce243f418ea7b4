// Policies: settings of queues by pattern of their names.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine_rig.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"

namespace ferry::engine::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

NamedPolicy policy(std::string name, std::string pattern, std::uint32_t priority = 0) {
    NamedPolicy out;
    out.name = std::move(name);
    out.pattern = std::move(pattern);
    out.priority = priority;
    out.settings.max_deliveries = priority + 10;
    return out;
}

class Policies : public ::testing::Test {
protected:
    Policies() { rig.engine().open_session(1); }
    ~Policies() override { EXPECT_THAT(rig.problems(), IsEmpty()); }

    Code set(const NamedPolicy& wanted, bool check = false) {
        rig.engine().set_policy(1, 7, wanted, check, rig.now());
        rig.settle();
        const Code code = rig.failure(1, 7);
        const auto answer = rig.take_answer<QueuesAnswer>(1, 7);
        queues = answer ? answer->queues : 0;
        return code;
    }
    Code end(std::string_view name) {
        rig.engine().delete_policy(1, 8, name, rig.now());
        rig.settle();
        return rig.failure(1, 8);
    }
    QueueView show(std::string_view name) {
        rig.engine().show_queue(1, 9, name, rig.now());
        rig.settle();
        return rig.take_answer<QueueView>(1, 9).value_or(QueueView{});
    }
    Rig rig;
    std::uint64_t queues = 0;
};

TEST(Glob, StarsTakeAnyRunAndQuestionMarksOneCharacter) {
    for (const auto& [pattern, name] :
         std::vector<std::pair<std::string, std::string>>{{"*", "a"},
                                                          {"a*", "a"},
                                                          {"jobs.*", "jobs.mail"},
                                                          {"*.dead", "jobs.mail.dead"},
                                                          {"a?c", "abc"},
                                                          {"*a*b*", "xxaxxbxx"},
                                                          {"a*b?d", "aabbbbcd"},
                                                          {"**", "x"}}) {
        EXPECT_TRUE(glob_matches(pattern, name)) << pattern << " " << name;
    }
    for (const auto& [pattern, name] : std::vector<std::pair<std::string, std::string>>{
             {"a", "ab"}, {"?", ""}, {"jobs.*", "jobs"}, {"*.dead", "dead"}, {"a?c", "ac"}}) {
        EXPECT_FALSE(glob_matches(pattern, name)) << pattern << " " << name;
    }
}

TEST(Glob, APatternThatMatchesNothingTakesNoLongerThanTheProductOfTheLengths) {
    const std::string name(255, 'a');
    std::string pattern;
    for (int i = 0; i < 85; ++i) pattern += "*a";
    EXPECT_FALSE(glob_matches(pattern + "b", name));
}

// G70
TEST_F(Policies, TheHighestPriorityCountsAndAmongEqualsTheFirstByName) {
    rig.declare(1, "jobs.mail");
    EXPECT_EQ(set(policy("b", "jobs.*", 5)), Code::ok);
    EXPECT_EQ(queues, 1U);
    EXPECT_EQ(set(policy("c", "*", 4)), Code::ok);
    EXPECT_EQ(queues, 0U);
    EXPECT_EQ(set(policy("a", "jobs.????", 5)), Code::ok);
    EXPECT_EQ(show("jobs.mail").policy_name, "a");
    rig.declare(1, "other");
    EXPECT_EQ(show("other").policy_name, "c");
    EXPECT_EQ(show("other").policy.max_deliveries, 14U);
    EXPECT_EQ(end("a"), Code::ok);
    EXPECT_EQ(show("jobs.mail").policy_name, "b");
    EXPECT_EQ(end("b"), Code::ok);
    EXPECT_EQ(end("c"), Code::ok);
    EXPECT_EQ(show("jobs.mail").policy_name, "");
    EXPECT_EQ(show("jobs.mail").policy, QueuePolicy{});
    EXPECT_EQ(end("c"), Code::no_such_policy);
}

// G70
TEST_F(Policies, AQueuesOwnDeclarationGoesBeforeAPolicySettingBySetting) {
    QueueOptions options;
    options.policy.max_deliveries = 3;
    options.policy.retry = RetryKind::fixed;
    options.policy.retry_delay_ms = 50;
    rig.declare(1, "q", options);
    NamedPolicy wanted = policy("p", "q");
    wanted.settings.message_ttl_ms = 1000;
    wanted.settings.retry = RetryKind::exponential;
    wanted.settings.retry_delay_ms = 1;
    wanted.settings.retry_delay_max_ms = 7;
    wanted.settings.dead_letter_key = "dead";
    EXPECT_EQ(set(wanted), Code::ok);
    const QueueView view = show("q");
    EXPECT_EQ(view.policy.max_deliveries, 3U);
    EXPECT_EQ(view.policy.retry, RetryKind::fixed);
    EXPECT_EQ(view.policy.retry_delay_max_ms, 0U) << "retries come from one of the two";
    EXPECT_EQ(view.policy.message_ttl_ms, 1000U);
    EXPECT_EQ(view.policy.dead_letter_key, "dead");
    EXPECT_EQ(view.declared, options.policy);
    // Declaring it again is still the same declaration.
    rig.engine().declare_queue(1, 11, "q", options, rig.now());
    EXPECT_EQ(rig.failure(1, 11), Code::ok);
    rig.engine().declare_queue(1, 12, "q", QueueOptions{}, rig.now());
    EXPECT_EQ(rig.failure(1, 12), Code::declared_differently);
}

// G70
TEST_F(Policies, AChangeCountsAtOnceForWhatWaitsInTheQueue) {
    rig.declare(1, "q");
    rig.declare(1, "dead");
    const std::uint64_t handle = rig.producer(1, "p");
    rig.send(1, handle, 1, "q", {"a"});
    rig.subscribe(1, 5, "q");
    rig.settle();
    ASSERT_THAT(rig.payloads(), ElementsAre("a"));
    NamedPolicy wanted = policy("p", "q");
    wanted.settings.max_deliveries = 1;
    EXPECT_EQ(set(wanted), Code::ok);
    const Range<Tag> tag{1, 1};
    rig.engine().nack(1, 20, 5, std::span(&tag, 1), true, rig.now());
    rig.settle();
    EXPECT_EQ(rig.view("q").parked, 1U) << "it had its one delivery, and there are no dead letters";
    wanted.settings.dead_letter_key = "dead";
    EXPECT_EQ(set(wanted), Code::ok);
    rig.advance_ms(1000);
    rig.engine().tick(rig.now());
    rig.settle();
    EXPECT_EQ(rig.view("q").parked, 0U);
    EXPECT_EQ(rig.view("dead").ready, 1U);
}

// G70
TEST_F(Policies, AQueueThatAPolicyLetsExpireLivesAsLongAsItSaysFromThenOn) {
    rig.declare(1, "q");
    rig.advance_ms(100'000);
    NamedPolicy wanted = policy("p", "q");
    wanted.settings.expires_ms = 5'000;
    EXPECT_EQ(set(wanted), Code::ok);
    rig.advance_ms(4'999);
    rig.engine().tick(rig.now());
    EXPECT_EQ(rig.view("q").name, "q");
    rig.advance_ms(1);
    rig.engine().tick(rig.now());
    EXPECT_EQ(rig.view("q").name, "");
}

// G71
TEST_F(Policies, PoliciesSurviveACrashACheckpointAndARestart) {
    rig.declare(1, "q");
    EXPECT_EQ(set(policy("kept", "q", 3)), Code::ok);
    EXPECT_EQ(set(policy("gone", "*", 9)), Code::ok);
    rig.take_checkpoint();
    EXPECT_EQ(end("gone"), Code::ok);
    EXPECT_EQ(set(policy("late", "r", 4)), Code::ok);
    rig.declare(1, "r");
    rig.settle();
    for (int i = 0; i < 2; ++i) {
        if (i == 0) rig.crash();
        if (i == 1) rig.restart_cleanly();
        rig.engine().open_session(1);
        EXPECT_EQ(show("q").policy_name, "kept");
        EXPECT_EQ(show("q").policy.max_deliveries, 13U);
        EXPECT_EQ(show("q").declared, QueuePolicy{});
        EXPECT_EQ(show("r").policy_name, "late");
        EXPECT_THAT(rig.engine().policies("", 10), SizeIs(2));
    }
}

// G71
TEST_F(Policies, PoliciesOfTheFileReplaceThoseOfTheLastFileAndAreNotChangedAtRunTime) {
    rig.declare(1, "q");
    EXPECT_EQ(set(policy("mine", "q", 1)), Code::ok);
    const std::vector<NamedPolicy> first{policy("mine", "q", 2), policy("old", "*", 0)};
    rig.engine().configure_policies(first, rig.now());
    rig.settle();
    EXPECT_EQ(show("q").policy.max_deliveries, 12U) << "the file goes before";
    EXPECT_EQ(set(policy("mine", "q", 7)), Code::from_configuration);
    EXPECT_EQ(set(policy("mine", "q", 2)), Code::ok) << "it is as asked for";
    EXPECT_EQ(end("old"), Code::from_configuration);
    EXPECT_EQ(set(policy("run", "q", 0)), Code::ok);
    rig.restart_cleanly();
    rig.engine().open_session(1);
    const std::vector<NamedPolicy> second{policy("new", "q", 2)};
    rig.engine().configure_policies(second, rig.now());
    std::vector<std::string> names;
    for (const PolicyView& view : rig.engine().policies("", 10)) names.push_back(view.policy.name);
    EXPECT_THAT(names, ElementsAre("new", "run"));
    const std::size_t records = rig.journal().records().size();
    rig.engine().configure_policies(second, rig.now());
    EXPECT_EQ(rig.journal().records().size(), records) << "nothing changed, nothing is written";
}

TEST_F(Policies, ACheckSaysWhatItWouldDoAndChangesNothing) {
    rig.declare(1, "q");
    rig.settle();
    const std::size_t records = rig.journal().records().size();
    EXPECT_EQ(set(policy("p", "*"), true), Code::ok);
    EXPECT_EQ(queues, 1U);
    EXPECT_EQ(set(policy("p", "no good"), true), Code::bad_option);
    QueueOptions options;
    options.check = true;
    rig.engine().declare_queue(1, 12, "new", options, rig.now());
    EXPECT_EQ(rig.failure(1, 12), Code::ok);
    EXPECT_EQ(rig.journal().records().size(), records);
    EXPECT_FALSE(rig.engine().queue("new", rig.now()).has_value());
}

TEST_F(Policies, BadValuesAreRefusedWithTheRangeThatIsAllowed) {
    const auto complaint = [](auto&& change) {
        NamedPolicy wanted = policy("p", "*");
        change(wanted);
        return complaint_of(wanted);
    };
    EXPECT_THAT(complaint([](NamedPolicy& p) { p.name = "a b"; }), HasSubstr("1 to 255"));
    EXPECT_THAT(complaint([](NamedPolicy& p) { p.pattern = "[a]"; }), HasSubstr("* and ?"));
    EXPECT_THAT(complaint([](NamedPolicy& p) { p.pattern = std::string(256, '*'); }),
                HasSubstr("1 to 255"));
    EXPECT_THAT(complaint([](NamedPolicy& p) { p.priority = 1001; }), HasSubstr("0 to 1000"));
    EXPECT_THAT(complaint([](NamedPolicy& p) { p.settings = {}; }), HasSubstr("at least one"));
    EXPECT_THAT(complaint([](NamedPolicy& p) { p.settings.retry_jitter_percent = 101; }),
                HasSubstr("0 to 100"));
    EXPECT_EQ(complaint([](NamedPolicy&) {}), "");
    for (std::uint32_t i = 0; i < limits::policies_max; ++i)
        EXPECT_EQ(set(policy("p" + std::to_string(i), "x")), Code::ok);
    EXPECT_EQ(set(policy("one-more", "x")), Code::limit_reached);
}

}  // namespace
}  // namespace ferry::engine::testing
