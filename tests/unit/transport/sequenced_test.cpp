#include "ferry/transport/sequenced.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "fake_broker.hpp"

namespace ferry::transport {
namespace {

using test::FakeBroker;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Recorder final : public SequencedEvents {
public:
    struct Answered {
        Outcome::Kind kind{};
        wire::Code code{};
        int times = 0;
    };
    void on_answered(SequenceRange sequences, const Outcome& outcome) override {
        const std::lock_guard lock(mutex_);
        for (std::uint64_t s = sequences.first; s <= sequences.last; ++s) {
            Answered& answered = answered_[s];
            answered.kind = outcome.kind;
            answered.code = outcome.code;
            ++answered.times;
        }
    }
    void on_lost(const ClientError& why) override {
        const std::lock_guard lock(mutex_);
        ++lost_;
        code_ = why.wire_code;
    }
    std::map<std::uint64_t, Answered> answered() {
        const std::lock_guard lock(mutex_);
        return answered_;
    }
    int lost() {
        const std::lock_guard lock(mutex_);
        return lost_;
    }
    wire::Code code() {
        const std::lock_guard lock(mutex_);
        return code_;
    }

private:
    std::mutex mutex_;
    std::map<std::uint64_t, Answered> answered_;
    int lost_ = 0;
    wire::Code code_ = wire::Code::ok;
};

class SequencedPublishing : public ::testing::Test {
protected:
    std::unique_ptr<SequencedPublisher> make(SequencedOptions options = {}) {
        options.url = broker.url();
        auto made = make_sequenced_publisher(options, events);
        EXPECT_TRUE(made.ok());
        return std::move(made).value();
    }
    static Status send(SequencedPublisher& to, std::uint64_t sequence) {
        const std::string payload = std::to_string(sequence);
        SequencedMessage message;
        message.routing_key = "q";
        message.payload = as_bytes(payload);
        return to.publish(sequence, message);
    }
    static void send_all(SequencedPublisher& to, std::uint64_t first, std::uint64_t last) {
        for (std::uint64_t s = first; s <= last; ++s) ASSERT_TRUE(send(to, s).ok());
        to.flush();
    }
    bool wait_for_answers(std::size_t count) {
        return broker.wait_until([&] { return events.answered().size() >= count; });
    }
    std::vector<std::string> stored() {
        std::vector<std::string> all;
        for (const auto& message : broker.stored()) all.push_back(message.payload);
        return all;
    }
    FakeBroker broker;
    Recorder events;
};

TEST_F(SequencedPublishing, keeps_the_callers_own_numbers) {
    const auto publisher = make();
    const auto opened = publisher->open("p", 1);
    ASSERT_TRUE(opened.ok()) << opened.error().text;
    EXPECT_EQ(opened.value().mark, 0u);
    EXPECT_GT(opened.value().payload_bytes_max, 0u);
    send_all(*publisher, 1, 3);
    ASSERT_TRUE(wait_for_answers(3));
    EXPECT_THAT(stored(), ElementsAre("1", "2", "3"));
    EXPECT_EQ(publisher->unanswered(), 0u);
}

TEST_F(SequencedPublishing, tells_mark_and_open_sequences_after_a_lost_connection) {
    const auto publisher = make();
    ASSERT_TRUE(publisher->open("p", 1).ok());
    send_all(*publisher, 1, 1);
    ASSERT_TRUE(publisher->hold({2, 3}).ok());
    send_all(*publisher, 4, 4);
    ASSERT_TRUE(wait_for_answers(2));
    broker.cut();
    ASSERT_TRUE(broker.wait_until([&] { return events.lost() == 1; }));
    EXPECT_EQ(send(*publisher, 5).error().code, Errc::unreachable);
    const auto again = publisher->open("p", 1);
    ASSERT_TRUE(again.ok()) << again.error().text;
    EXPECT_EQ(again.value().mark, 4u);
    ASSERT_FALSE(again.value().open.empty());
    EXPECT_EQ(again.value().open.front().first, 2u);
    EXPECT_EQ(again.value().open.back().last, 3u);
}

TEST_F(SequencedPublishing, sends_an_unanswered_message_again_as_a_duplicate) {
    const auto publisher = make();
    ASSERT_TRUE(publisher->open("p", 1).ok());
    broker.cut_after_next_publish();
    send_all(*publisher, 1, 1);
    ASSERT_TRUE(broker.wait_until([&] { return events.lost() == 1; }));
    EXPECT_THAT(events.answered(), IsEmpty());
    ASSERT_TRUE(publisher->open("p", 1).ok());
    send_all(*publisher, 1, 1);
    ASSERT_TRUE(wait_for_answers(1));
    EXPECT_EQ(events.answered()[1].kind, Outcome::Kind::duplicate);
    EXPECT_THAT(stored(), ElementsAre("1"));
}

TEST_F(SequencedPublishing, a_refused_message_stays_open_to_be_sent_later_and_nothing_passes_it) {
    const auto publisher = make();
    ASSERT_TRUE(publisher->open("p", 1).ok());
    broker.refuse(2, wire::Code::no_such_exchange);
    send_all(*publisher, 1, 3);
    ASSERT_TRUE(wait_for_answers(3));
    EXPECT_EQ(events.answered()[2].code, wire::Code::no_such_exchange);
    EXPECT_EQ(events.answered()[3].code, wire::Code::sequence_gap);
    EXPECT_THAT(stored(), ElementsAre("1"));
    ASSERT_TRUE(publisher->hold({2, 2}).ok());
    send_all(*publisher, 3, 3);
    send_all(*publisher, 2, 2);
    ASSERT_TRUE(broker.wait_until([&] { return stored().size() == 3; }));
    EXPECT_THAT(stored(), ElementsAre("1", "3", "2"));
}

TEST_F(SequencedPublishing, a_hold_that_does_not_follow_on_does_not_end_the_connection) {
    const auto publisher = make();
    ASSERT_TRUE(publisher->open("p", 1).ok());
    broker.refuse(1, wire::Code::disk_full);
    send_all(*publisher, 1, 1);
    ASSERT_TRUE(publisher->hold({2, 2}).ok());
    send_all(*publisher, 3, 3);
    ASSERT_TRUE(wait_for_answers(2));
    EXPECT_EQ(events.answered()[3].code, wire::Code::sequence_gap);
    EXPECT_EQ(events.lost(), 0);
}

TEST_F(SequencedPublishing, fencing_is_told_as_such) {
    const auto old = make();
    ASSERT_TRUE(old->open("p", 2).ok());
    const auto refused = old->open("p", 1);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().wire_code, wire::Code::fenced);
    ASSERT_TRUE(old->open("p", 2).ok());
    broker.refuse(1, wire::Code::fenced);
    send_all(*old, 1, 1);
    ASSERT_TRUE(broker.wait_until([&] { return events.lost() == 1; }));
    EXPECT_EQ(events.code(), wire::Code::fenced);
}

TEST_F(SequencedPublishing, the_window_bounds_what_is_unanswered) {
    SequencedOptions options;
    options.window_messages = 4;
    const auto publisher = make(options);
    ASSERT_TRUE(publisher->open("p", 1).ok());
    broker.confirm_publishes(false);
    send_all(*publisher, 1, 4);
    EXPECT_EQ(send(*publisher, 5).error().code, Errc::would_block);
    broker.confirm_publishes(true);
    ASSERT_TRUE(broker.wait_until([&] { return publisher->unanswered() == 0; }));
    send_all(*publisher, 5, 5);
    ASSERT_TRUE(wait_for_answers(5));
}

TEST_F(SequencedPublishing, what_can_never_be_sent_is_rejected_without_harm) {
    broker.set_frame_bytes_max(8192);
    const auto publisher = make();
    ASSERT_TRUE(publisher->open("p", 1).ok());
    const std::string large(9000, 'x');
    SequencedMessage message;
    message.routing_key = "q";
    message.payload = as_bytes(large);
    EXPECT_EQ(publisher->publish(1, message).error().code, Errc::rejected);
    send_all(*publisher, 1, 1);
    ASSERT_TRUE(wait_for_answers(1));
}

TEST_F(SequencedPublishing, an_open_without_a_broker_fails_with_a_sentence) {
    broker.refuse_connections();
    const auto publisher = make();
    const auto opened = publisher->open("p", 1);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, Errc::unreachable);
    EXPECT_THAT(opened.error().text, HasSubstr("no producer at ferry://127.0.0.1"));
    broker.accept_connections();
    EXPECT_TRUE(publisher->open("p", 1).ok());
}

TEST_F(SequencedPublishing, closing_ends_a_waiting_open) {
    broker.answer_with_error(wire::Verb::hello, wire::Code::ok);
    const auto publisher = make();
    publisher->close();
    EXPECT_EQ(publisher->open("p", 1).error().code, Errc::unreachable);
}

TEST_F(SequencedPublishing, many_messages_travel_in_few_frames) {
    const auto publisher = make();
    ASSERT_TRUE(publisher->open("p", 1).ok());
    send_all(*publisher, 1, 5000);
    ASSERT_TRUE(wait_for_answers(5000));
    EXPECT_EQ(stored().size(), 5000u);
    EXPECT_LT(broker.frames(wire::Verb::publish).size(), 20u);
    for (const auto& [sequence, answered] : events.answered()) ASSERT_EQ(answered.times, 1);
}

TEST_F(SequencedPublishing, a_broker_that_confirms_what_was_not_sent_loses_the_connection) {
    const auto publisher = make();
    ASSERT_TRUE(publisher->open("p", 1).ok());
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::confirm, 5);
    wire::Encoder(out).uint(1).uint(7).uint(9).uint(0);
    wire::end_frame(out, mark);
    broker.send_raw(out);
    ASSERT_TRUE(broker.wait_until([&] { return events.lost() == 1; }));
    EXPECT_THAT(events.answered(), IsEmpty());
}

}  // namespace
}  // namespace ferry::transport
