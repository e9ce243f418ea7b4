#include "native/publish_pipe.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "ferry/wire/frame.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::transport::native {
namespace {

struct Sent {
    std::uint64_t first = 0;
    std::uint64_t settled = 0;
    std::uint64_t flags = 0;
    std::vector<std::string> payloads;
};

Sent parse(const Batch& batch) {
    Sent sent;
    const auto slice = wire::next_frame(batch.frame(), 4U << 20);
    EXPECT_EQ(slice.state, wire::FrameSlice::State::complete);
    EXPECT_EQ(slice.used, batch.frame().size());
    wire::Cursor cursor(slice.body);
    wire::FrameHead head;
    std::uint64_t producer = 0;
    std::uint32_t count = 0;
    EXPECT_TRUE(wire::read_head(cursor, head) && cursor.read_uint(producer) &&
                cursor.read_uint(sent.flags) && cursor.read_uint(sent.settled) &&
                cursor.read_array(count));
    EXPECT_EQ(head.verb, wire::Verb::publish);
    sent.first = head.request;
    for (std::uint32_t i = 0; i < count; ++i) {
        wire::MessageView message;
        EXPECT_TRUE(wire::read_message(cursor, message));
        sent.payloads.emplace_back(as_text(message.payload));
    }
    EXPECT_TRUE(cursor.at_end());
    return sent;
}

class PublishPipeTest : public ::testing::Test {
protected:
    PublishPipe::Opening opening(std::uint64_t mark, std::size_t frame = 1U << 20) {
        return PublishPipe::Opening{mark, frame, frame};
    }
    Result<std::uint64_t> put(PublishPipe& pipe, std::string_view payload, bool mandatory = false) {
        bool wake = false;
        return pipe.enqueue({"", "q", {}, as_bytes(payload), mandatory}, nullptr, false, wake);
    }
    std::vector<Sent> take(PublishPipe& pipe) {
        std::vector<BatchPtr> batches;
        std::vector<Sent> sent;
        while (pipe.take(batches, 1U << 20, 1, true)) {
        }
        for (const BatchPtr& batch : batches) sent.push_back(parse(*batch));
        return sent;
    }
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges(const PublishPipe::Told& told) {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> out;
        for (const Range& range : told.ranges) out.emplace_back(range.first, range.last);
        return out;
    }
    using Pairs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

    PublishPipe::Limits limits_;
    PublishPipe::Told told_;
};

TEST_F(PublishPipeTest, what_gathers_between_two_writes_goes_out_as_one_frame) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    for (const char* payload : {"a", "b", "c"}) ASSERT_TRUE(put(pipe, payload).ok());
    const auto sent = take(pipe);
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].first, 1U);
    EXPECT_EQ(sent[0].payloads, (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_TRUE(take(pipe).empty());
}

TEST_F(PublishPipeTest, numbers_go_on_behind_the_mark_of_the_first_opening) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(41));
    EXPECT_EQ(put(pipe, "a").value(), 42U);
    const auto sent = take(pipe);
    EXPECT_EQ(sent.at(0).first, 42U);
    EXPECT_EQ(sent.at(0).settled, 41U);
}

TEST_F(PublishPipeTest, a_batch_is_closed_at_its_limits_and_when_the_flag_changes) {
    limits_.batch_messages = 2;
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    for (const char* payload : {"a", "b", "c"}) ASSERT_TRUE(put(pipe, payload).ok());
    ASSERT_TRUE(put(pipe, "d", true).ok());
    const auto sent = take(pipe);
    ASSERT_EQ(sent.size(), 3U);
    EXPECT_EQ(sent[0].payloads.size(), 2U);
    EXPECT_EQ(sent[1].first, 3U);
    EXPECT_EQ(sent[2].flags, wire::publish_mandatory);
}

TEST_F(PublishPipeTest, a_message_larger_than_a_batch_has_a_frame_of_its_own) {
    limits_.batch_bytes = 4096;
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    const std::string large(100000, 'x');
    ASSERT_TRUE(put(pipe, "a").ok());
    ASSERT_TRUE(put(pipe, large).ok());
    ASSERT_TRUE(put(pipe, "b").ok());
    const auto sent = take(pipe);
    ASSERT_EQ(sent.size(), 3U);
    EXPECT_EQ(sent[1].payloads.at(0), large);
}

TEST_F(PublishPipeTest, what_is_over_a_limit_is_rejected_and_takes_no_sequence) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0, 8192));
    EXPECT_EQ(put(pipe, std::string(9000, 'x')).error().code, Errc::rejected);
    bool wake = false;
    const std::string key(256, 'k');
    EXPECT_EQ(pipe.enqueue({"", key, {}, {}, false}, nullptr, false, wake).error().code,
              Errc::rejected);
    EXPECT_EQ(pipe.enqueue({"bad name", "k", {}, {}, false}, nullptr, false, wake).error().code,
              Errc::rejected);
    EXPECT_EQ(
        pipe.enqueue({"", "k", as_bytes("\x93\x01"), {}, false}, nullptr, false, wake).error().code,
        Errc::rejected);
    EXPECT_EQ(put(pipe, "a").value(), 1U);
}

TEST_F(PublishPipeTest, a_full_window_refuses_until_confirms_make_room) {
    limits_.window_messages = 2;
    limits_.block_when_full = false;
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    ASSERT_TRUE(put(pipe, "a").ok());
    ASSERT_TRUE(put(pipe, "b").ok());
    EXPECT_EQ(put(pipe, "c").error().code, Errc::would_block);
    take(pipe);
    ASSERT_TRUE(pipe.confirm(1, 1, told_));
    EXPECT_TRUE(put(pipe, "c").ok());
}

TEST_F(PublishPipeTest, a_confirm_of_what_was_never_sent_is_not_believed) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    ASSERT_TRUE(put(pipe, "a").ok());
    EXPECT_FALSE(pipe.confirm(1, 1, told_));
    take(pipe);
    EXPECT_FALSE(pipe.confirm(1, 2, told_));
    EXPECT_FALSE(pipe.confirm(0, 1, told_));
    EXPECT_FALSE(pipe.confirm(2, 1, told_));
    EXPECT_TRUE(pipe.confirm(1, 1, told_));
    EXPECT_EQ(ranges(told_), (Pairs{{1, 1}}));
}

TEST_F(PublishPipeTest, each_sequence_is_told_once_however_confirms_and_refusals_overlap) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(put(pipe, "x").ok());
    take(pipe);
    ASSERT_TRUE(pipe.resolve(5, 6, told_));
    ASSERT_TRUE(pipe.resolve(6, 6, told_));
    ASSERT_TRUE(pipe.confirm(1, 8, told_));
    ASSERT_TRUE(pipe.confirm(8, 10, told_));
    EXPECT_EQ(ranges(told_), (Pairs{{5, 6}, {1, 4}, {7, 8}, {9, 10}}));
    EXPECT_EQ(pipe.unconfirmed(), 0U);
}

TEST_F(PublishPipeTest,
       after_a_reconnect_only_what_is_unresolved_is_sent_again_under_its_sequence) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    for (const char* payload : {"a", "b", "c", "d", "e"}) ASSERT_TRUE(put(pipe, payload).ok());
    take(pipe);
    ASSERT_TRUE(pipe.confirm(1, 1, told_));
    ASSERT_TRUE(pipe.resolve(3, 3, told_));
    ASSERT_TRUE(put(pipe, "f").ok());
    EXPECT_FALSE(pipe.used_by_others(5));
    EXPECT_TRUE(pipe.holds(5).value().empty());
    pipe.send_again(opening(5), told_);
    const auto sent = take(pipe);
    ASSERT_EQ(sent.size(), 3U);
    EXPECT_EQ(sent[0].first, 2U);
    EXPECT_EQ(sent[0].payloads, std::vector<std::string>{"b"});
    EXPECT_EQ(sent[1].first, 4U);
    EXPECT_EQ(sent[1].payloads, (std::vector<std::string>{"d", "e"}));
    EXPECT_EQ(sent[2].first, 6U);
    EXPECT_EQ(sent[2].settled, 1U);
}

TEST_F(PublishPipeTest, a_given_up_sequence_that_the_broker_never_noted_is_held) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(put(pipe, "x").ok());
    take(pipe);
    ASSERT_TRUE(pipe.confirm(1, 1, told_));
    ASSERT_TRUE(pipe.resolve(3, 3, told_));
    const auto holds = pipe.holds(1);
    ASSERT_TRUE(holds.has_value());
    ASSERT_EQ(holds->size(), 1U);
    EXPECT_EQ(holds->front().first, 3U);
    EXPECT_EQ(holds->front().last, 3U);
}

TEST_F(PublishPipeTest, a_broker_that_forgot_confirmed_messages_gets_a_new_epoch_from_1) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    for (const char* payload : {"a", "b", "c", "d"}) ASSERT_TRUE(put(pipe, payload).ok());
    take(pipe);
    ASSERT_TRUE(pipe.confirm(1, 2, told_));
    ASSERT_TRUE(pipe.resolve(4, 4, told_));
    EXPECT_FALSE(pipe.holds(0).has_value());
    pipe.rebase();
    const auto holds = pipe.holds(0);
    ASSERT_TRUE(holds.has_value());
    ASSERT_EQ(holds->size(), 1U);
    EXPECT_EQ(holds->front().first, 2U) << "the refused fourth is the second of the new epoch";
    pipe.send_again(opening(0), told_);
    const auto sent = take(pipe);
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].first, 1U);
    EXPECT_EQ(sent[0].payloads, std::vector<std::string>{"c"});
    told_ = {};
    ASSERT_TRUE(pipe.confirm(1, 1, told_));
    EXPECT_EQ(ranges(told_), (Pairs{{3, 3}})) << "callers keep their own numbers";
    EXPECT_EQ(put(pipe, "e").value(), 5U);
}

TEST_F(PublishPipeTest, batches_are_cut_to_a_frame_limit_that_became_lower) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    ASSERT_TRUE(put(pipe, std::string(3000, 'a')).ok());
    ASSERT_TRUE(put(pipe, std::string(9000, 'b')).ok());
    ASSERT_TRUE(put(pipe, std::string(3000, 'c')).ok());
    take(pipe);
    pipe.send_again(opening(0, 5000), told_);
    EXPECT_EQ(ranges(told_), (Pairs{{2, 2}}));
    const auto sent = take(pipe);
    ASSERT_EQ(sent.size(), 2U);
    EXPECT_EQ(sent[0].first, 1U);
    EXPECT_EQ(sent[1].first, 3U);
}

TEST_F(PublishPipeTest, a_refusal_noted_for_retry_is_sent_again_and_stays_unconfirmed_until_then) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    for (const char* payload : {"a", "b", "c"}) ASSERT_TRUE(put(pipe, payload).ok());
    take(pipe);
    ASSERT_TRUE(pipe.retry_later(2, 2));
    ASSERT_TRUE(pipe.confirm(1, 1, told_));
    ASSERT_TRUE(pipe.confirm(3, 3, told_));
    EXPECT_EQ(pipe.unconfirmed(), 1U);
    pipe.send_retries();
    const auto sent = take(pipe);
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].first, 2U);
    EXPECT_EQ(sent[0].payloads, std::vector<std::string>{"b"});
    ASSERT_TRUE(pipe.confirm(2, 2, told_));
    EXPECT_EQ(pipe.unconfirmed(), 0U);
}

TEST_F(PublishPipeTest, flush_waits_for_what_was_taken_and_closing_ends_every_wait) {
    PublishPipe pipe(limits_);
    pipe.begin(opening(0));
    EXPECT_TRUE(pipe.flush(std::chrono::steady_clock::now()).ok());
    ASSERT_TRUE(put(pipe, "a").ok());
    EXPECT_EQ(pipe.flush(std::chrono::steady_clock::now()).error().code, Errc::indeterminate);
    take(pipe);
    std::thread waiter([&] {
        EXPECT_TRUE(pipe.flush(std::chrono::steady_clock::now() + std::chrono::seconds(20)).ok());
    });
    ASSERT_TRUE(pipe.confirm(1, 1, told_));
    pipe.told_all();
    waiter.join();
    ASSERT_TRUE(put(pipe, "b").ok());
    pipe.abandon(told_);
    EXPECT_EQ(ranges(told_), (Pairs{{1, 1}, {2, 2}}));
    EXPECT_EQ(put(pipe, "c").error().code, Errc::unreachable);
}

}  // namespace
}  // namespace ferry::transport::native
