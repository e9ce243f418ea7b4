#include "core.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ferry::outbox::relay {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using wire::Code;

class RelayCore : public ::testing::Test {
protected:
    void open(Core& core, std::uint64_t mark = 0, std::vector<Range> ranges = {}) {
        core.opened(mark, ranges, 1'000'000, 1);
    }
    static void send(Core& core, std::uint64_t id, std::string_view key = {}) {
        ASSERT_EQ(core.offer(id, key, now), Core::Verdict::send) << id;
        if (const auto gap = core.gap_before(id)) core.held(*gap);
        core.sent(id);
    }
    static constexpr std::uint64_t now = 5000;
    SeededRandom random{1};
    Rules rules;
};

TEST_F(RelayCore, what_the_broker_has_is_finished_without_being_sent_again) {  // R2, R3
    Core core(rules, random);
    open(core, 10, {{4, 5}});
    EXPECT_THAT(core.finished().all(), ElementsAre(Range{1, 3}, Range{6, 10}));
    EXPECT_EQ(core.read_after(), 10u);
    core.offer_open(4, "");
    EXPECT_THAT(core.due(now, 10), ElementsAre(4));
    EXPECT_EQ(core.floor(), 4u);
}

TEST_F(RelayCore, a_refused_row_holds_later_ones_of_its_key_and_no_others) {  // R5
    Core core(rules, random);
    open(core);
    for (std::uint64_t id = 1; id <= 4; ++id) send(core, id, id == 4 ? "other" : "k");
    core.confirmed({1, 1}, false);
    core.refused(2, "k", Code::no_such_exchange, "no", now);
    EXPECT_FALSE(core.may_send(now)) << "what is under way must be answered first";
    core.not_taken({3, 4});
    EXPECT_EQ(core.read_after(), 1u);
    EXPECT_EQ(core.offer(2, "k", now), Core::Verdict::wait);
    EXPECT_EQ(core.offer(3, "k", now), Core::Verdict::wait);
    EXPECT_EQ(core.offer(4, "other", now), Core::Verdict::send);
    ASSERT_TRUE(core.gap_before(4).has_value());
    EXPECT_EQ(*core.gap_before(4), (Range{2, 3}));
    core.held({2, 3});
    core.sent(4);
    core.confirmed({4, 4}, false);
    EXPECT_EQ(core.floor(), 2u);
    EXPECT_THAT(core.due(now + 60, 10), ElementsAre(2));
    core.sent(2);
    core.confirmed({2, 2}, false);
    EXPECT_THAT(core.due(now + 60, 10), ElementsAre(3));
    core.sent(3);
    core.confirmed({3, 3}, false);
    EXPECT_EQ(core.floor(), 5u);
    EXPECT_THAT(core.finished().all(), ElementsAre(Range{1, 4}));
}

TEST_F(RelayCore, poison_parks_its_key_and_an_operator_frees_it) {  // R9, block
    rules.attempts_max = 2;
    Core core(rules, random);
    open(core);
    send(core, 1, "k");
    core.refused(1, "k", Code::no_such_exchange, "no", now);
    ASSERT_EQ(core.refusals().size(), 1u);
    EXPECT_TRUE(core.refusals()[0].retry_in_ms.has_value());
    EXPECT_EQ(core.offer(1, "k", now), Core::Verdict::wait);
    ASSERT_THAT(core.due(now + 100, 10), ElementsAre(1));
    core.sent(1);
    core.refused(1, "k", Code::no_such_exchange, "no", now + 100);
    ASSERT_EQ(core.refusals().size(), 2u);
    EXPECT_FALSE(core.refusals()[1].retry_in_ms.has_value());
    EXPECT_EQ(core.parked(), 1u);
    core.refusals_written(2);
    EXPECT_EQ(core.offer(1, "k", now), Core::Verdict::wait);
    EXPECT_EQ(core.offer(2, "k", now), Core::Verdict::wait);
    send(core, 3, "j");
    core.confirmed({3, 3}, false);
    EXPECT_THAT(core.due(now + 1'000'000, 10), IsEmpty());
    EXPECT_FALSE(core.next_due(now).has_value()) << "a parked row must not make the relay busy";
    core.sync_parked({{1, std::nullopt}}, now);
    EXPECT_EQ(core.parked(), 1u);
    core.sync_parked({}, now);
    EXPECT_EQ(core.parked(), 0u);
    EXPECT_THAT(core.due(now, 10), ElementsAre(1));
    core.gone(1);  // it had been skipped
    EXPECT_THAT(core.due(now, 10), ElementsAre(2));
}

TEST_F(RelayCore, with_the_skip_policy_the_key_goes_on_without_the_parked_row) {  // R9, skip
    rules.policy = Policy::skip;
    Core core(rules, random);
    open(core);
    send(core, 1, "k");
    core.refused(1, "k", Code::message_too_large, "no", now);
    EXPECT_EQ(core.parked(), 1u);
    EXPECT_EQ(core.offer(1, "k", now), Core::Verdict::wait);
    send(core, 2, "k");
    core.confirmed({2, 2}, false);
    EXPECT_EQ(core.floor(), 1u) << "it may still come";
}

TEST_F(RelayCore, a_full_disk_pauses_everything_and_blames_no_message) {  // R8, R11
    Core core(rules, random);
    open(core);
    send(core, 1, "k");
    send(core, 2);
    core.refused(1, "k", Code::disk_full, "full", now);
    core.not_taken({2, 2});
    EXPECT_THAT(core.refusals(), IsEmpty());
    EXPECT_FALSE(core.may_send(now));
    ASSERT_TRUE(core.next_due(now).has_value());
    const std::uint64_t later = *core.next_due(now);
    EXPECT_LE(later, now + rules.backoff_max_ms);
    EXPECT_TRUE(core.may_send(later));
    EXPECT_EQ(core.offer(1, "k", later), Core::Verdict::send);
    core.sent(1);
    EXPECT_EQ(core.offer(2, "", later), Core::Verdict::send);
    EXPECT_FALSE(core.gap_before(2).has_value()) << "nothing needs to be held: order is kept";
}

TEST_F(RelayCore, pauses_grow_to_a_cap_and_end_with_the_first_success) {  // R8
    Core core(rules, random);
    open(core);
    std::uint64_t time = now;
    std::uint64_t longest = 0;
    send(core, 1);
    for (int i = 0; i < 40; ++i) {
        core.refused(1, "", Code::shutting_down, "", time);
        const std::uint64_t next = core.next_due(time).value();
        EXPECT_LE(next - time, rules.backoff_max_ms);
        longest = std::max(longest, next - time);
        time = next;
        ASSERT_EQ(core.offer(1, "", time), Core::Verdict::send);
        core.sent(1);
    }
    EXPECT_GT(longest, rules.backoff_max_ms / 2);
    core.confirmed({1, 1}, false);
    send(core, 2);
    core.refused(2, "", Code::shutting_down, "", time);
    EXPECT_LE(core.next_due(time).value() - time, rules.backoff_min_ms);
}

TEST_F(RelayCore, a_duplicate_of_what_was_never_sent_before_is_somebody_else) {  // O12
    Core core(rules, random);
    core.opened(5, {}, 5, 6);
    send(core, 6);
    core.confirmed({6, 6}, true);
    EXPECT_TRUE(core.foreign());
    EXPECT_FALSE(core.finished().contains(6)) << "its message is not at the broker";
    EXPECT_FALSE(core.may_send(now));
}

TEST_F(RelayCore, a_duplicate_of_what_an_earlier_run_may_have_sent_is_fine) {  // R6, R15
    Core core(rules, random);
    core.opened(5, {}, 8, 6);
    send(core, 6);
    core.confirmed({6, 6}, true);
    EXPECT_FALSE(core.foreign());
    EXPECT_TRUE(core.finished().contains(6));
}

TEST_F(RelayCore, a_gap_too_wide_to_be_held_asks_for_a_new_epoch) {  // O18
    Core core(rules, random);
    open(core);
    EXPECT_EQ(core.offer(rules.open_rows_max + 2, "", now), Core::Verdict::rebase);
}

TEST_F(RelayCore, rows_that_wait_are_bounded) {  // R8
    rules.waiting_rows_max = 3;
    Core core(rules, random);
    open(core);
    send(core, 1, "k");
    core.refused(1, "k", Code::message_too_large, "no", now);
    EXPECT_EQ(core.offer(1, "k", now), Core::Verdict::wait);
    EXPECT_EQ(core.offer(2, "k", now), Core::Verdict::wait);
    EXPECT_EQ(core.offer(3, "k", now), Core::Verdict::wait);
    EXPECT_EQ(core.offer(4, "k", now), Core::Verdict::stop);
    EXPECT_TRUE(core.stuck());
}

TEST_F(RelayCore, a_clock_that_jumped_puts_nothing_off_for_ever) {  // R7
    Core core(rules, random);
    open(core);
    core.load_parked({1, "k", 1, 3'600'000}, now);
    EXPECT_EQ(core.offer(1, "k", now), Core::Verdict::wait);
    EXPECT_THAT(core.due(now + rules.backoff_max_ms, 10), ElementsAre(1));
}

TEST_F(RelayCore,
       a_lost_connection_forgets_what_was_under_way_but_not_what_is_finished) {  // R1, R4
    Core core(rules, random);
    open(core);
    send(core, 1);
    send(core, 2);
    core.confirmed({1, 1}, false);
    core.lost();
    EXPECT_EQ(core.in_flight(), 0u);
    EXPECT_TRUE(core.finished().contains(1));
    EXPECT_FALSE(core.may_send(now));
    open(core, 1);
    send(core, 2);
}

}  // namespace
}  // namespace ferry::outbox::relay
