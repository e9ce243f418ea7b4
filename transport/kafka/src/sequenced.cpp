#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "ferry/transport/kafka/publisher.hpp"
#include "ferry/wire/limits.hpp"
#include "handle.hpp"
#include "produce.hpp"

// A relay's way to Kafka. Sequences travel as the opaque pointer of librdkafka's messages: nothing
// is kept here for each of them.
namespace ferry::transport::kafka {
namespace {

constexpr int poll_wait_ms = 50;
constexpr std::uint32_t linger_ms = 2;
// Answers of one batch become ranges before they are told.
constexpr std::uint64_t answers_at_once = 512;

class KafkaSequenced final : public SequencedPublisher {
public:
    KafkaSequenced(SequencedOptions options, Settings settings, SequencedEvents& events)
        : options_(std::move(options)), settings_(std::move(settings)), events_(events) {}
    ~KafkaSequenced() override { drop(); }

    Answer<ProducerState> open(std::string_view /*producer*/, std::uint64_t epoch) override {
        drop();
        if (closed_) return ClientError{Errc::unreachable, wire::Code::ok, "closed"};
        watch_ = std::make_unique<OwnedWatch>("relay", this);
        ConfBuilder conf(settings_, options_.name, *watch_);
        set_idempotent(conf, options_.window_messages * 2, options_.window_bytes * 2, linger_ms);
        // A relay waits as long as it takes: giving a message up would let others overtake it.
        conf.set("message.timeout.ms", "0");
        rd_kafka_conf_set_dr_msg_cb(
            conf.get(), [](rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
                static_cast<OwnedWatch*>(static_cast<Watch*>(opaque))->owner->reported(*message);
            });
        auto made = conf.make(RD_KAFKA_PRODUCER);
        if (!made.ok()) return made.error();
        handle_ = std::move(made).value();
        auto greeted =
            greet(handle_.get(), settings_, *watch_, static_cast<int>(options_.connect_timeout_ms));
        if (!greeted.ok()) {
            drop();
            return greeted.error();
        }
        muted_ = false;
        lost_ = false;
        stopping_ = false;
        poller_ = std::thread([this] { poll(); });
        ProducerState state;
        state.remembers = false;
        state.epoch = epoch;
        state.payload_bytes_max = ferry::limits::payload_bytes_max;
        state.frame_bytes_max = ferry::limits::frame_bytes_cap;
        return state;
    }

    Status publish(std::uint64_t sequence, const SequencedMessage& message) override {
        if (!handle_ || lost_) return Error{Errc::unreachable, 0, 0, "not connected to Kafka"};
        if (unanswered_ >= options_.window_messages ||
            bytes_.load() + message.payload.size() >
                std::max<std::uint64_t>(options_.window_bytes, 1)) {
            if (unanswered_ > 0) return Error{Errc::would_block, 0, 0, "the window is full"};
        }
        if (passed_.contains(sequence)) {
            // It had gone through while one before it was refused.
            events_.on_answered({sequence, sequence}, Outcome{});
            return ok_status();
        }
        properties_ = {};
        if (!message.properties.empty() &&
            !wire::read_properties(message.properties, properties_)) {
            return Error{Errc::rejected, 0, 0, "the message's properties are malformed"};
        }
        std::string_view wrong = unsupported(properties_);
        if (wrong.empty()) {
            wrong = to_record(message.exchange, message.routing_key, properties_, record_);
        }
        const Topics::One* const topic =
            topics_.of(handle_.get(), message.exchange, message.routing_key);
        if (topic == nullptr) wrong = no_topic_name;
        if (!wrong.empty()) return Error{Errc::rejected, 0, 0, wrong};
        unanswered_.fetch_add(1);
        bytes_.fetch_add(message.payload.size());
        const auto error = produce(handle_.get(), *topic, record_, message.payload,
                                   reinterpret_cast<void*>(sequence));
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return ok_status();
        unanswered_.fetch_sub(1);
        bytes_.fetch_sub(message.payload.size());
        return refusal(error);
    }

    Status hold(SequenceRange /*sequences*/) override { return ok_status(); }
    void settled(std::uint64_t upto) override {
        if (!passed_.empty()) passed_.erase(passed_.begin(), passed_.upper_bound(upto));
        const std::scoped_lock lock(mutex_);
        passed_.merge(passed_anew_);
        passed_anew_.clear();
        if (lowest_refused_ <= upto) lowest_refused_ = UINT64_MAX;
    }
    void flush() override {}  // librdkafka gathers for linger.ms and sends by itself
    std::uint64_t unanswered() const override { return unanswered_.load(); }
    std::string metrics() const override { return watch_ ? watch_->metrics() : std::string(); }
    void close() override { closed_ = true; }

private:
    struct OwnedWatch : Watch {
        OwnedWatch(const char* role, KafkaSequenced* whose) : Watch(role), owner(whose) {}
        KafkaSequenced* owner;
    };

    static Error refusal(rd_kafka_resp_err_t error) {
        if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            return Error{Errc::would_block, 0, 0, "the window is full"};
        }
        if (error == RD_KAFKA_RESP_ERR__FATAL) {
            return Error{Errc::unreachable, 0, 0, "the Kafka producer has ended by a fatal error"};
        }
        if (meaning_of(error).code == wire::Code::message_too_large) {
            return Error{Errc::rejected, 0, 0, "the message is over Kafka's message.max.bytes"};
        }
        return Error{Errc::rejected, 0, 0, "Kafka does not take such a message"};
    }

    void poll() {
        while (!stopping_) {
            rd_kafka_poll(handle_.get(), poll_wait_ms);
            tell();
            if (lost_ || rd_kafka_fatal_error(handle_.get(), nullptr, 0) == 0) continue;
            lost_ = true;
            events_.on_lost({Errc::unreachable, wire::Code::ok,
                             "the Kafka producer has ended: " + watch_->last_error()});
        }
    }

    // Delivery reports come one by one; whole batches of a partition follow each other in order.
    void reported(const rd_kafka_message_t& message) {
        const auto sequence = reinterpret_cast<std::uint64_t>(message._private);
        unanswered_.fetch_sub(1);
        bytes_.fetch_sub(message.len);
        if (muted_) return;
        std::string text;
        const Outcome outcome = outcome_of(handle_.get(), message, text);
        if (outcome.ok()) {
            watch_->sent.fetch_add(1, std::memory_order_relaxed);
            if (sequence > lowest_refused_) {
                const std::scoped_lock lock(mutex_);
                passed_anew_.insert(sequence);
            }
            if (told_.last != 0 && told_.last + 1 == sequence &&
                sequence - told_.first < answers_at_once) {
                told_.last = sequence;
                return;
            }
            tell();
            told_ = {sequence, sequence};
            return;
        }
        tell();
        watch_->refused.fetch_add(1, std::memory_order_relaxed);
        if (rd_kafka_fatal_error(handle_.get(), nullptr, 0) != 0) return;  // on_lost tells
        {
            const std::scoped_lock lock(mutex_);
            lowest_refused_ = std::min<std::uint64_t>(lowest_refused_, sequence);
        }
        // Stored or not, it must go again: the inbox knows its id.
        Outcome refused = outcome;
        refused.kind = Outcome::Kind::refused;
        events_.on_answered({sequence, sequence}, refused);
    }
    void tell() {
        if (told_.last == 0) return;
        const SequenceRange range = told_;
        told_ = {};
        events_.on_answered(range, Outcome{});
    }

    void drop() {
        stopping_ = true;
        if (poller_.joinable()) poller_.join();
        if (handle_) {
            muted_ = true;
            rd_kafka_purge(handle_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
            while (unanswered_ > 0) rd_kafka_poll(handle_.get(), poll_wait_ms);
        }
        topics_.clear();
        handle_.reset();
        told_ = {};
        passed_.clear();
        passed_anew_.clear();
        lowest_refused_ = UINT64_MAX;
    }

    const SequencedOptions options_;
    const Settings settings_;
    SequencedEvents& events_;
    std::unique_ptr<OwnedWatch> watch_;
    Kafka handle_;
    Topics topics_{settings_};
    std::thread poller_;
    std::atomic<bool> stopping_{false};
    std::atomic<bool> closed_{false};
    std::atomic<bool> lost_{false};
    std::atomic<bool> muted_{false};
    std::atomic<std::uint64_t> unanswered_{0};
    std::atomic<std::uint64_t> bytes_{0};
    std::mutex mutex_;
    std::set<std::uint64_t> passed_anew_;
    std::set<std::uint64_t> passed_;  // the caller's thread
    std::atomic<std::uint64_t> lowest_refused_{UINT64_MAX};
    SequenceRange told_;  // the poller's: confirmed and not told yet
    // Used again for each message.
    wire::Properties properties_;
    Record record_;
};

}  // namespace

Answer<std::unique_ptr<SequencedPublisher>> make_sequenced_publisher(SequencedOptions options,
                                                                     SequencedEvents& events) {
    auto settings = read_url(options.url);
    if (!settings.ok()) return settings.error();
    return std::unique_ptr<SequencedPublisher>(
        std::make_unique<KafkaSequenced>(std::move(options), std::move(settings).value(), events));
}

}  // namespace ferry::transport::kafka
