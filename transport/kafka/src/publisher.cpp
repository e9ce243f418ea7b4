#include "ferry/transport/kafka/publisher.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "ferry/wire/limits.hpp"
#include "handle.hpp"
#include "produce.hpp"

namespace ferry::transport::kafka {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int poll_wait_ms = 100;
constexpr int close_wait_ms = 200;

/// One message on its way whose sender waits for it; the opaque of librdkafka's.
struct Flying {
    std::uint64_t sequence = 0;
    ConfirmCallback done;
};

/// Of others the opaque is the sequence itself, odd as no address of a Flying is.
void* bare(std::uint64_t sequence) {
    return reinterpret_cast<void*>((sequence << 1) | 1);
}
bool read_bare(const void* opaque, std::uint64_t& sequence) {
    const auto number = reinterpret_cast<std::uintptr_t>(opaque);
    sequence = number >> 1;
    return (number & 1) != 0;
}

class KafkaPublisher final : public Publisher, public RecordPublisher {
public:
    KafkaPublisher(PublisherOptions options, Settings settings)
        : options_(std::move(options)), settings_(std::move(settings)), watch_("publisher", this) {
        watch_.on_event = options_.on_event;
    }
    ~KafkaPublisher() override {
        if (!handle_) return;
        stopping_ = true;
        if (poller_.joinable()) poller_.join();
        rd_kafka_purge(handle_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        while (unconfirmed() > 0) rd_kafka_poll(handle_.get(), close_wait_ms);
    }

    Answer<Done> start() {
        ConfBuilder conf(settings_, options_.name, watch_);
        set_idempotent(conf, options_.window_messages, options_.window_bytes, options_.linger_ms);
        conf.set("message.timeout.ms", std::to_string(options_.message_timeout_ms));
        rd_kafka_conf_set_dr_msg_cb(
            conf.get(), [](rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
                static_cast<OwnedWatch*>(static_cast<Watch*>(opaque))->owner->reported(*message);
            });
        auto made = conf.make(RD_KAFKA_PRODUCER);
        if (!made.ok()) return made.error();
        handle_ = std::move(made).value();
        auto greeted =
            greet(handle_.get(), settings_, watch_, static_cast<int>(options_.connect_timeout_ms));
        if (!greeted.ok()) {
            handle_.reset();
            return greeted;
        }
        poller_ = std::thread([this] {
            while (!stopping_) rd_kafka_poll(handle_.get(), poll_wait_ms);
        });
        return Done{};
    }

    Result<std::uint64_t> publish_async(const Message& message, ConfirmCallback done) override {
        return publish_async(message.exchange, message.routing_key, message.properties,
                             as_bytes(message.payload), std::move(done));
    }

    Result<std::uint64_t> publish_async(std::string_view exchange, std::string_view routing_key,
                                        const Properties& properties, Bytes payload,
                                        ConfirmCallback done) override {
        if (const std::string_view no = unsupported(properties); !no.empty()) {
            return Error{Errc::rejected, 0, 0, no};
        }
        Record record;
        const std::string_view wrong = to_record(exchange, routing_key, properties, record);
        if (!wrong.empty()) return Error{Errc::rejected, 0, 0, wrong};
        return send([&] { return topics_.of(handle_.get(), exchange, routing_key); }, record,
                    payload, std::move(done));
    }

    Result<std::uint64_t> publish_record(const std::string& topic, const Record& record,
                                         Bytes payload, ConfirmCallback done) override {
        return send([&] { return &topics_.named(handle_.get(), topic); }, record, payload,
                    std::move(done));
    }

    Status flush(Timeout timeout) override {
        const auto deadline = Clock::now() + timeout;
        rd_kafka_flush(handle_.get(), 0);
        std::unique_lock lock(mutex_);
        const bool done = room_.wait_until(lock, deadline, [&] { return unconfirmed_ == 0; });
        if (!done)
            return Error{Errc::indeterminate, 0, 0, "not all messages were confirmed in time"};
        return ok_status();
    }

    std::string metrics() const override { return watch_.metrics(); }
    std::uint64_t unconfirmed() const override { return unconfirmed_.load(); }

private:
    template <class FindTopic>
    Result<std::uint64_t> send(const FindTopic& find_topic, const Record& record, Bytes payload,
                               ConfirmCallback done) {
        std::unique_ptr<Flying> flying;
        if (done) flying = std::make_unique<Flying>(Flying{0, std::move(done)});
        std::unique_lock lock(mutex_);
        for (;;) {
            if (closed_) return Error{Errc::unreachable, 0, 0, "the Kafka producer has ended"};
            const Topics::One* const topic = find_topic();
            if (topic == nullptr) return Error{Errc::rejected, 0, 0, no_topic_name};
            // Under the lock: calls in order of sequence are in order in Kafka.
            if (flying) flying->sequence = next_;
            unconfirmed_.fetch_add(1);  // before: its report may come at once
            const auto error = produce(handle_.get(), *topic, record, payload,
                                       flying ? flying.get() : bare(next_));
            if (error == RD_KAFKA_RESP_ERR_NO_ERROR) break;
            unconfirmed_.fetch_sub(1);
            if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) return refusal(error);
            if (!options_.block_when_full) {
                return Error{Errc::would_block, 0, 0, "the window of unconfirmed messages is full"};
            }
            room_.wait_for(lock, std::chrono::milliseconds(poll_wait_ms));
        }
        [[maybe_unused]] Flying* const gone = flying.release();  // the delivery report's
        return next_++;
    }

    struct OwnedWatch : Watch {
        OwnedWatch(const char* role, KafkaPublisher* whose) : Watch(role), owner(whose) {}
        KafkaPublisher* owner;
    };

    Error refusal(rd_kafka_resp_err_t error) {
        watch_.refused.fetch_add(1, std::memory_order_relaxed);
        if (error == RD_KAFKA_RESP_ERR__FATAL) {
            closed_ = true;
            return Error{Errc::unreachable, 0, 0, "the Kafka producer has ended by a fatal error"};
        }
        if (meaning_of(error).code == wire::Code::message_too_large) {
            return Error{Errc::rejected, 0, 0, "the message is over message.max.bytes"};
        }
        return Error{Errc::rejected, 0, 0, "Kafka does not take such a message"};
    }

    void reported(const rd_kafka_message_t& message) {
        std::uint64_t sequence = 0;
        std::unique_ptr<Flying> flying;
        if (!read_bare(message._private, sequence)) {
            flying.reset(static_cast<Flying*>(message._private));
            sequence = flying->sequence;
        }
        std::string text;
        const Outcome outcome = outcome_of(handle_.get(), message, text);
        (outcome.ok() ? watch_.sent : watch_.refused).fetch_add(1, std::memory_order_relaxed);
        if (flying) flying->done(sequence, outcome);
        if (options_.on_confirm) options_.on_confirm(sequence, sequence, outcome);
        const std::uint64_t left = unconfirmed_.fetch_sub(1) - 1;
        // Each wake-up costs more than the message: the room is told of now and then.
        if (left == 0 || (left & 0x3ff) == 0) {
            const std::scoped_lock lock(mutex_);
            room_.notify_all();
        }
    }

    const PublisherOptions options_;
    const Settings settings_;
    OwnedWatch watch_;
    Kafka handle_;
    Topics topics_{settings_};  // with the mutex
    std::thread poller_;
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> unconfirmed_{0};
    std::mutex mutex_;
    std::condition_variable room_;
    std::uint64_t next_ = 1;
    bool closed_ = false;
};

}  // namespace

Answer<std::unique_ptr<Publisher>> make_publisher(PublisherOptions options) {
    auto settings = read_url(options.url);
    if (!settings.ok()) return settings.error();
    auto publisher =
        std::make_unique<KafkaPublisher>(std::move(options), std::move(settings).value());
    auto started = publisher->start();
    if (!started.ok()) return started.error();
    return std::unique_ptr<Publisher>(std::move(publisher));
}

}  // namespace ferry::transport::kafka
