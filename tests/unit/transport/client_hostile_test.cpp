#include <gtest/gtest.h>

#include <atomic>

#include "fake_broker.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/transport/client.hpp"

// A broker may be broken or malicious: the client drops it and comes back, and never crashes or
// grows.
namespace ferry::transport {
namespace {

using test::FakeBroker;

class HostileBroker : public ::testing::Test {
protected:
    void SetUp() override {
        ClientOptions options;
        options.url = broker_.url();
        options.backoff_min_ms = 1;
        options.backoff_max_ms = 5;
        options.on_confirm = [this](std::uint64_t first, std::uint64_t last, const Outcome&) {
            told_ += last - first + 1;
        };
        auto connected = Client::connect(options);
        ASSERT_TRUE(connected.ok()) << connected.error().text;
        client_ = std::move(connected).value();
    }
    /// Sends it and expects the client to have given that connection up and made a new one.
    void expect_dropped(const wire::Buffer& bytes) {
        const std::uint64_t before = broker_.connections();
        broker_.send_raw(bytes);
        ASSERT_TRUE(broker_.wait_until(
            [&] { return broker_.connections() > before && client_->connected(); }));
    }
    template <class F>
    wire::Buffer frame(wire::Verb verb, std::uint32_t fields, F&& fill) {
        wire::Buffer out;
        const std::size_t mark = wire::begin_frame(out, verb, fields);
        wire::Encoder encoder(out);
        fill(encoder);
        wire::end_frame(out, mark);
        return out;
    }

    FakeBroker broker_;
    std::atomic<std::uint64_t> told_{0};
    std::unique_ptr<Client> client_;
};

TEST_F(HostileBroker, an_endless_frame_is_dropped_before_memory_is_taken) {
    expect_dropped({std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}});
}

TEST_F(HostileBroker, frames_without_sense_are_dropped) {
    expect_dropped({std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}, std::byte{0xc1}});
    expect_dropped(frame(static_cast<wire::Verb>(99), 2, [](wire::Encoder& out) { out.uint(0); }));
    expect_dropped(frame(wire::Verb::publish, 2, [](wire::Encoder& out) { out.uint(0); }));
}

TEST_F(HostileBroker, confirms_and_refusals_of_what_was_never_sent_are_dropped) {
    expect_dropped(frame(wire::Verb::confirm, 5,
                         [](wire::Encoder& out) { out.uint(1).uint(7).uint(9).uint(0); }));
    expect_dropped(frame(wire::Verb::confirm, 5,
                         [](wire::Encoder& out) { out.uint(1).uint(7).uint(~0ULL).uint(0); }));
    expect_dropped(frame(wire::Verb::refused, 6, [](wire::Encoder& out) {
        out.uint(5).uint(7).uint(6).uint(205).str("");
    }));
    EXPECT_EQ(told_.load(), 0U);
}

TEST_F(HostileBroker, a_delivery_that_promises_more_messages_than_bytes_is_dropped) {
    const auto subscription = client_->subscribe("q", {});
    ASSERT_TRUE(subscription.ok());
    expect_dropped(frame(wire::Verb::deliver, 8, [&](wire::Encoder& out) {
        out.uint(subscription.value()->id())
            .uint(1)
            .uint(1)
            .uint(1)
            .uint(1)
            .uint(1)
            .array(0xffffffffU);
    }));
    expect_dropped(frame(wire::Verb::deliver, 8, [&](wire::Encoder& out) {
        out.uint(subscription.value()->id()).uint(~0ULL).uint(1).uint(1).uint(1).uint(1).array(1);
    }));
}

TEST_F(HostileBroker, deliveries_from_all_over_the_log_that_do_not_add_up_are_dropped) {
    const auto subscription = client_->subscribe("q", {});
    ASSERT_TRUE(subscription.ok());
    const std::uint64_t id = subscription.value()->id();
    const auto some = [&](auto&& fill) {
        expect_dropped(frame(wire::Verb::deliver_some, 6, [&](wire::Encoder& out) {
            out.uint(id);
            fill(out);
        }));
    };
    some([](wire::Encoder& out) { out.uint(1).array(0xffffffff); });
    some([](wire::Encoder& out) { out.uint(0).array(1).uint(5).array(1).uint(5).array(1); });
    // One position, two times; one message promised, none there.
    some(
        [](wire::Encoder& out) { out.uint(1).array(1).uint(5).array(2).uint(5).uint(5).array(1); });
    some([](wire::Encoder& out) { out.uint(1).array(1).uint(5).array(1).uint(5).array(1).nil(); });
    expect_dropped(
        frame(wire::Verb::activated, 3, [&](wire::Encoder& out) { out.uint(id).uint(1); }));
}

TEST_F(HostileBroker, answers_that_nobody_asked_for_are_ignored) {
    broker_.send_raw(frame(wire::Verb::ok, 3, [](wire::Encoder& out) { out.uint(12345).map(0); }));
    broker_.send_raw(
        frame(wire::Verb::settled, 3, [](wire::Encoder& out) { out.uint(1ULL << 63).array(0); }));
    broker_.send_raw(frame(wire::Verb::cancelled, 4,
                           [](wire::Encoder& out) { out.uint(77).uint(200).str("x"); }));
    EXPECT_TRUE(client_->stats().ok());
    EXPECT_EQ(broker_.connections(), 1U);
}

TEST_F(HostileBroker, an_answer_of_the_wrong_shape_is_an_error_and_not_a_crash) {
    const auto page = client_->list_queues();  // the fake answers a map without queues
    ASSERT_TRUE(page.ok());
    EXPECT_TRUE(page.value().queues.empty());
    EXPECT_TRUE(client_->show_queue("q").ok());
}

TEST_F(HostileBroker, random_bytes_never_do_harm) {
    SeededRandom random(20240607);
    const auto subscription = client_->subscribe("q", {});
    ASSERT_TRUE(subscription.ok());
    const std::uint8_t verbs[] = {2, 3, 4, 11, 12, 21, 24, 28};
    for (int round = 0; round < 300; ++round) {
        ASSERT_TRUE(broker_.wait_until([&] { return client_->connected(); }));
        ASSERT_TRUE(client_->enqueue("", "q", as_bytes("x")).ok());
        wire::Buffer out;
        const std::size_t mark = wire::begin_frame(
            out, static_cast<wire::Verb>(verbs[random.below(std::size(verbs))]), 8);
        wire::Encoder encoder(out);
        for (std::uint64_t i = random.below(9); i > 0; --i) {
            switch (random.below(5)) {
                case 0:
                    encoder.uint(random.below(10));
                    break;
                case 1:
                    encoder.uint(random.next());
                    break;
                case 2:
                    encoder.str("text");
                    break;
                case 3:
                    encoder.array(static_cast<std::uint32_t>(random.below(4)));
                    break;
                default:
                    encoder.map(static_cast<std::uint32_t>(random.next()));
                    break;
            }
        }
        wire::end_frame(out, mark);
        broker_.send_raw(out);
    }
    ASSERT_TRUE(client_->flush(Timeout{20000}).ok());
    EXPECT_EQ(told_.load(), 300U);
}

}  // namespace
}  // namespace ferry::transport
