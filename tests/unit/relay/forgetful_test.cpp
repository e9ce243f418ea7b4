// A relay over a message system that remembers nothing of producers, as Kafka.

#include <atomic>
#include <set>

#include "relay_fixture.hpp"

namespace ferry::outbox::relay {
namespace {

/// Takes everything, repeats too. One refusal does not stop what stands behind it.
class ForgetfulBroker {
public:
    struct Stored {
        std::string id;
        std::string payload;
    };
    std::unique_ptr<transport::SequencedPublisher> connect(transport::SequencedEvents& events) {
        return std::make_unique<Connection>(*this, events);
    }
    [[nodiscard]] std::vector<Stored> stored() const {
        const std::lock_guard lock(mutex_);
        return stored_;
    }
    std::atomic<bool> refuses_bad{false};

private:
    class Connection final : public transport::SequencedPublisher {
    public:
        Connection(ForgetfulBroker& broker, transport::SequencedEvents& events)
            : broker_(broker), events_(events) {}
        transport::Answer<transport::ProducerState> open(std::string_view,
                                                         std::uint64_t epoch) override {
            transport::ProducerState state;
            state.remembers = false;
            state.epoch = epoch;
            state.payload_bytes_max = 1'000'000;
            return state;
        }
        Status publish(std::uint64_t sequence,
                       const transport::SequencedMessage& message) override {
            wire::Properties properties;
            if (!wire::read_properties(message.properties, properties)) {
                return Error{Errc::rejected, 0, 0, "malformed properties"};
            }
            taken_.push_back({sequence, {properties.id, std::string(as_text(message.payload))}});
            return ok_status();
        }
        Status hold(transport::SequenceRange) override { return ok_status(); }
        void settled(std::uint64_t) override {}
        void flush() override {
            for (auto& [sequence, one] : std::exchange(taken_, {})) {
                transport::Outcome outcome;
                if (broker_.refuses_bad && one.payload == "bad") {
                    outcome = {transport::Outcome::Kind::refused, wire::Code::no_route, "no topic"};
                } else {
                    const std::lock_guard lock(broker_.mutex_);
                    broker_.stored_.push_back(one);
                }
                events_.on_answered({sequence, sequence}, outcome);
            }
        }
        [[nodiscard]] std::uint64_t unanswered() const override { return taken_.size(); }
        void close() override {}

    private:
        ForgetfulBroker& broker_;
        transport::SequencedEvents& events_;
        std::vector<std::pair<std::uint64_t, Stored>> taken_;
    };

    mutable std::mutex mutex_;
    std::vector<Stored> stored_;
};

class RelayForgetful : public RelayFixture {
protected:
    Options forgetful_options() {
        Options options = options_for(file());
        options.publisher = [this](transport::SequencedEvents& events) {
            return transport::Answer<std::unique_ptr<transport::SequencedPublisher>>(
                forgetful_.connect(events));
        };
        return options;
    }
    /// How often each payload is there, and under how many ids.
    std::pair<int, std::size_t> seen(const std::string& payload) const {
        int times = 0;
        std::set<std::string> ids;
        for (const auto& one : forgetful_.stored()) {
            if (one.payload != payload) continue;
            ++times;
            ids.insert(one.id);
        }
        return {times, ids.size()};
    }

    ForgetfulBroker forgetful_;
};

TEST_F(RelayForgetful, what_was_sent_and_not_marked_is_sent_again_under_the_same_id) {  // G121: R3
    app();
    relay_ = start(forgetful_options());
    commit(names(1, 10));
    ASSERT_TRUE(all_marked());
    ASSERT_TRUE(app()
                    .database()
                    .run("CREATE TABLE gate(shut); INSERT INTO gate VALUES (1); "
                         "CREATE TRIGGER gate BEFORE DELETE ON ferry_outbox WHEN "
                         "(SELECT shut FROM gate) BEGIN SELECT RAISE(ABORT, 'no'); END")
                    .ok());
    commit(names(11, 15));
    ASSERT_TRUE(eventually([&] { return forgetful_.stored().size() == 15; }));
    relay_.reset();
    ASSERT_TRUE(app().database().run("UPDATE gate SET shut = 0").ok());
    relay_ = start(forgetful_options());
    commit({"new"});
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(seen("new").first, 1);
    for (const std::string& one : names(1, 10)) EXPECT_EQ(seen(one).first, 1) << one;
    for (const std::string& one : names(11, 15)) {
        EXPECT_EQ(seen(one).first, 2) << one;
        EXPECT_EQ(seen(one).second, 1U) << one;
    }
    EXPECT_EQ(relay_->figures().new_epochs, 0U);
}

TEST_F(RelayForgetful, a_refused_row_below_confirmed_ones_is_found_again_after_a_restart) {  // G121
    app();
    forgetful_.refuses_bad = true;
    relay_ = start(forgetful_options());
    commit({"a", "bad", "b", "c"});
    ASSERT_TRUE(eventually([&] { return pending() == 1; }));
    relay_->stop(std::chrono::seconds(5));
    relay_.reset();
    relay_ = start(forgetful_options());
    ASSERT_TRUE(eventually([&] { return relay_->figures().connected; }));
    commit({"d"});
    ASSERT_TRUE(eventually([&] { return seen("d").first > 0; }));
    forgetful_.refuses_bad = false;
    ASSERT_TRUE(
        app().database().run("UPDATE ferry_outbox_parked SET next_ms = 1, attempts = 0").ok());
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(seen("bad").first, 1);
    for (const char* const one : {"a", "b", "c", "d"}) EXPECT_EQ(seen(one).second, 1U) << one;
}

TEST_F(RelayForgetful, a_new_epoch_that_is_asked_for_gives_the_next_messages_new_ids) {
    app();
    relay_ = start(forgetful_options());
    commit({"old"});
    ASSERT_TRUE(all_marked());
    relay_->stop(std::chrono::seconds(5));
    relay_.reset();
    Options options = forgetful_options();
    options.new_epoch = true;
    relay_ = start(std::move(options));
    commit({"new"});
    ASSERT_TRUE(all_marked());
    EXPECT_EQ(relay_->figures().new_epochs, 1U);
    EXPECT_NE(forgetful_.stored().back().id.find(":2:"), std::string::npos);
}

}  // namespace
}  // namespace ferry::outbox::relay
