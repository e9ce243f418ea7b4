#include <algorithm>
#include <future>

#include "ferry/platform/clock.hpp"
#include "ferry/wire/limits.hpp"
#include "subscription_impl.hpp"

namespace ferry::transport::kafka {
namespace {

constexpr std::chrono::milliseconds commit_again_after{50};

Error no_such_delivery() {
    return {Errc::indeterminate, 0, 0,
            "its partition went to another consumer, or it was settled before"};
}

/// A commit that was refused for reasons that pass.
bool passes(rd_kafka_resp_err_t error) {
    switch (error) {
        case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
        case RD_KAFKA_RESP_ERR__WAIT_COORD:
        case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
        case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
        case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
        case RD_KAFKA_RESP_ERR__TRANSPORT:
        case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        case RD_KAFKA_RESP_ERR__TIMED_OUT:
        // The partitions are taken from us: the rebalance that follows says which.
        case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
        case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
            return true;
        default:
            return false;
    }
}

}  // namespace

KafkaSubscription::KafkaSubscription(SubscriptionOptions options, Settings settings)
    : options_(std::move(options)),
      settings_(std::move(settings)),
      watch_("consumer", this),
      lent_(std::make_shared<LentRecords>(watch_.headers_over)) {
    watch_.on_event = options_.on_event;
    topics_.push_back(settings_.topic_of(options_.queue));
    if (!options_.retry_topic.empty()) topics_.push_back(options_.retry_topic);
}

Answer<Done> KafkaSubscription::start() {
    ConfBuilder conf(settings_, options_.name, watch_);
    conf.set("group.id", options_.group.empty() ? options_.queue : options_.group);
    conf.set("enable.auto.commit", "false");
    conf.set("enable.auto.offset.store", "false");
    conf.set("enable.partition.eof", "true");
    conf.set("partition.assignment.strategy", "cooperative-sticky");
    // What was sent before the first consumer came is not lost, as in a queue.
    conf.prefer("auto.offset.reset", "earliest");
    conf.prefer("isolation.level", "read_committed");
    conf.prefer("session.timeout.ms", "10000");
    conf.prefer("heartbeat.interval.ms", "2000");
    conf.prefer("queued.max.messages.kbytes", "32768");
    conf.set("queued.min.messages", std::to_string(read_ahead_messages));
    rd_kafka_conf_set_rebalance_cb(conf.get(), on_rebalance);
    auto made = conf.make(RD_KAFKA_CONSUMER);
    if (!made.ok()) return made.error();
    handle_ = std::move(made).value();
    rd_kafka_poll_set_consumer(handle_.get());
    const int timeout = static_cast<int>(options_.connect_timeout_ms);
    if (auto greeted = greet(handle_.get(), settings_, watch_, timeout); !greeted.ok()) {
        return greeted;
    }
    for (const std::string& topic : topics_) {
        auto looked = look_at_topic(handle_.get(), settings_, watch_, topic, timeout);
        if (!looked.ok()) return looked.error();
    }
    if (char* const id = rd_kafka_clusterid(handle_.get(), timeout); id != nullptr) {
        cluster_ = id;
        rd_kafka_mem_free(handle_.get(), id);
    }
    if (!options_.retry_topic.empty() || !options_.dead_letter_topic.empty()) {
        PublisherOptions copying;
        copying.url = options_.url;
        copying.name = options_.name;
        copying.connect_timeout_ms = options_.connect_timeout_ms;
        copying.on_event = options_.on_event;
        auto publisher = make_publisher(std::move(copying));
        if (!publisher.ok()) return publisher.error();
        copies_ = std::move(publisher).value();
    }
    queue_.reset(rd_kafka_queue_new(handle_.get()));
    events_.reset(rd_kafka_queue_get_consumer(handle_.get()));
    const PartitionList wanted(rd_kafka_topic_partition_list_new(static_cast<int>(topics_.size())));
    for (const std::string& topic : topics_) {
        rd_kafka_topic_partition_list_add(wanted.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
    }
    const auto subscribed = rd_kafka_subscribe(handle_.get(), wanted.get());
    if (subscribed != RD_KAFKA_RESP_ERR_NO_ERROR) return client_error(subscribed, "subscribing");
    committed_at_ = Clock::now();
    poller_ = std::thread([this] { poll(); });
    return Done{};
}

void KafkaSubscription::close() {
    if (stopping_.exchange(true)) return;
    settled_.notify_all();
    {
        const std::scoped_lock lock(mutex_);
        wake_reader_locked();
    }
    if (poller_.joinable()) poller_.join();
    {
        const std::scoped_lock lock(mutex_);
        over_ = true;
        if (why_.empty()) why_ = "closed";
    }
    arrived_.notify_all();
    copies_.reset();
    // A reader that is still in librdkafka leaves it first; the next one sees that it is over.
    const std::scoped_lock no_fetch(fetch_mutex_);
    lent_->take_back();
    const std::scoped_lock lock(mutex_);
    queue_.reset();
    events_.reset();
    handle_.reset();
}

// ---- settling ----

Status KafkaSubscription::ack(const DeliveryTag& tag) {
    const std::scoped_lock lock(mutex_);
    if (!ledger_.ack(tag.tag)) return no_such_delivery();
    acked_locked();
    return ok_status();
}

Answer<std::vector<DeliveryTag>> KafkaSubscription::settle(std::span<const DeliveryTag> tags,
                                                           Timeout timeout) {
    const auto deadline = Clock::now() + timeout;
    std::vector<DeliveryTag> lost;
    std::vector<DeliveryTag> done;
    done.reserve(tags.size());
    {
        const std::scoped_lock lock(mutex_);
        for (const DeliveryTag& tag : tags) {
            if (ledger_.is_done(tag.tag)) {
                done.push_back(tag);
            } else if (!ledger_.ack(tag.tag)) {
                lost.push_back(tag);
            }
        }
        settled_.notify_all();
        arrived_.notify_one();
    }
    for (;;) {
        const auto error = commit();
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) break;
        if (!passes(error) || Clock::now() >= deadline || stopping_) {
            return client_error(error, "committing offsets of " + topics_.front());
        }
        std::this_thread::sleep_for(commit_again_after);
    }
    // Not before: after an error they are asked for again.
    const std::scoped_lock lock(mutex_);
    for (const DeliveryTag& tag : done) {
        if (!ledger_.ack(tag.tag)) lost.push_back(tag);
    }
    arrived_.notify_one();
    return lost;
}

void KafkaSubscription::done(std::span<const DeliveryTag> tags) {
    const std::scoped_lock lock(mutex_);
    // One that is not out any more: settle() will say so.
    for (const DeliveryTag& tag : tags) static_cast<void>(ledger_.done(tag.tag));
    if (!leaving_.empty()) settled_.notify_all();
    if (!fetching_) arrived_.notify_one();
}

rd_kafka_resp_err_t KafkaSubscription::commit() {
    const std::scoped_lock one_at_a_time(commit_mutex_);
    std::vector<Ledger::Commit> commits;
    {
        const std::scoped_lock lock(mutex_);
        commits = ledger_.to_commit();
        committed_at_ = Clock::now();
    }
    if (commits.empty()) return RD_KAFKA_RESP_ERR_NO_ERROR;
    const PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(commits.size())));
    for (const Ledger::Commit& commit : commits) {
        rd_kafka_topic_partition_list_add(list.get(), topics_[commit.at.topic].c_str(),
                                          commit.at.partition)
            ->offset = commit.next;
    }
    auto error = rd_kafka_commit(handle_.get(), list.get(), 0);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return error;
    for (int i = 0; i < list->cnt; ++i) {
        if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR) error = list->elems[i].err;
    }
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return error;
    watch_.committed.fetch_add(1, std::memory_order_relaxed);
    const std::scoped_lock lock(mutex_);
    ledger_.committed(commits);
    return error;
}

Status KafkaSubscription::nack(const DeliveryTag& tag, bool requeue) {
    if (!requeue && !options_.dead_letter_topic.empty()) {
        return copy_away(tag.tag, options_.dead_letter_topic, 1, 0);
    }
    const std::scoped_lock lock(mutex_);
    if (ledger_.find(tag.tag) == nullptr) return no_such_delivery();
    if (!requeue) {
        ledger_.ack(tag.tag);
        acked_locked();
    } else {
        hand_out_again_locked(tag.tag);
    }
    return ok_status();
}

Status KafkaSubscription::nack_later(const DeliveryTag& tag, Timeout delay) {
    if (delay.count() <= 0) return nack(tag, true);
    if (options_.retry_topic.empty()) {
        return Error{Errc::not_found, 0, 0, "there is no retry topic"};
    }
    std::uint64_t attempt = 0;
    {
        const std::scoped_lock lock(mutex_);
        const Ledger::Out* const out = ledger_.find(tag.tag);
        if (out == nullptr) return no_such_delivery();
        attempt = out->attempt + 1;
    }
    const std::uint64_t due =
        system_clock().now().wall_ms + static_cast<std::uint64_t>(delay.count());
    return copy_away(tag.tag, options_.retry_topic, attempt, due);
}

void KafkaSubscription::hand_out_again_locked(std::uint64_t tag) {
    const std::uint64_t next = ledger_.again(tag);
    if (next == 0) return;
    ready_.push_back(next);
    wake_reader_locked();
}

// The copy first, the ack when it is there: a crash between leaves both.
Status KafkaSubscription::copy_away(std::uint64_t tag, const std::string& topic,
                                    std::uint64_t attempt, std::uint64_t due_ms) {
    Received received;
    {
        const std::scoped_lock lock(mutex_);
        Ledger::Out* const out = ledger_.find(tag);
        if (out == nullptr) return no_such_delivery();
        out->received->complete();
        received = *out->received;
    }
    const MessageView& view = received.delivery.message;
    Properties properties;
    if (!view.properties.empty() && !wire::read_properties(view.properties, properties)) {
        return Error{Errc::rejected, 0, 0, "the message's properties are malformed"};
    }
    Record record;
    const std::string_view wrong = to_record(view.exchange, view.routing_key, properties, record);
    if (!wrong.empty()) return Error{Errc::rejected, 0, 0, wrong};
    if (view.exchange.empty()) {
        record.fields.push_back(
            {std::string(routing_key_header), std::string(view.routing_key), false});
    }
    const bool retry = due_ms != 0;
    if (retry) {
        record.fields.push_back({std::string(attempt_header), std::to_string(attempt), false});
        record.fields.push_back({std::string(due_header), std::to_string(due_ms), false});
    }
    auto* const publisher = dynamic_cast<RecordPublisher*>(copies_.get());
    if (publisher == nullptr) return Error{Errc::not_found, 0, 0, "there is no such topic"};
    const auto taken = publisher->publish_record(
        topic, record, view.payload,
        [this, tag, retry](std::uint64_t, const Outcome& outcome) { moved(tag, retry, outcome); });
    if (!taken.ok()) return taken.error();
    return ok_status();
}

void KafkaSubscription::moved(std::uint64_t tag, bool retry, const Outcome& outcome) {
    if (outcome.ok()) (retry ? watch_.retried : watch_.dead).fetch_add(1);
    const std::scoped_lock lock(mutex_);
    if (outcome.ok()) {
        ledger_.ack(tag);
        acked_locked();
    } else {
        hand_out_again_locked(tag);
    }
}

Status KafkaSubscription::dead_letter(const DeliveryTag& tag, const Message& copy,
                                      Timeout timeout) {
    if (options_.dead_letter_topic.empty()) {
        return Error{Errc::not_found, 0, 0, "there is no dead-letter topic"};
    }
    Record record;
    const std::string_view wrong =
        to_record(copy.exchange, copy.routing_key, copy.properties, record);
    if (!wrong.empty()) return Error{Errc::rejected, 0, 0, wrong};
    auto* const publisher = dynamic_cast<RecordPublisher*>(copies_.get());
    if (publisher == nullptr) return Error{Errc::not_found, 0, 0, "there is no such topic"};
    const auto answer = std::make_shared<std::promise<Outcome>>();
    auto coming = answer->get_future();
    const auto taken =
        publisher->publish_record(options_.dead_letter_topic, record, as_bytes(copy.payload),
                                  [answer](std::uint64_t, const Outcome& outcome) {
                                      Outcome kept = outcome;
                                      kept.text = {};
                                      answer->set_value(kept);
                                  });
    if (!taken.ok()) return taken.error();
    if (coming.wait_for(timeout) != std::future_status::ready) {
        return Error{Errc::indeterminate, 0, 0, "Kafka did not confirm the dead letter in time"};
    }
    const Outcome outcome = coming.get();
    if (!outcome.ok()) {
        if (outcome.code == wire::Code::no_route) {
            return Error{Errc::not_found, 0, 0, "the dead-letter topic does not exist"};
        }
        return Error{Errc::indeterminate, 0, 0, wire::code_info(outcome.code).meaning};
    }
    watch_.dead.fetch_add(1);
    const auto settled = settle({&tag, 1}, timeout);
    if (!settled.ok()) return settled.error().error();
    return ok_status();
}

std::vector<DeliveryTag> KafkaSubscription::lost() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(lost_, {});
}

// ---- what it knows ----

std::string KafkaSubscription::place() const {
    return cluster_ + "/" + topics_.front() + "/" +
           std::to_string(watch_.known_partitions(topics_.front())) + "-partitions";
}

std::string KafkaSubscription::metrics() const {
    return watch_.metrics();
}

std::uint32_t KafkaSubscription::partitions() const {
    const std::scoped_lock lock(mutex_);
    return static_cast<std::uint32_t>(ledger_.assigned());
}

bool KafkaSubscription::at_end() const {
    const std::scoped_lock lock(mutex_);
    return ledger_.assigned() > 0 && ended_partitions_.size() >= ledger_.assigned() &&
           ready_.empty();
}

Answer<std::unique_ptr<Subscription>> subscribe(SubscriptionOptions options) {
    auto settings = read_url(options.url);
    if (!settings.ok()) return settings.error();
    const std::string& topic = settings.value().topic_of(options.queue);
    if (!wire::valid_name(topic) || topic.size() > limits::topic_bytes_max) {
        return ClientError{Errc::rejected, wire::Code::ok,
                           "\"" + topic +
                               "\" is not a topic's name: use 1 to 249 of a-z A-Z 0-9 "
                               ". _ -"};
    }
    if (options.prefetch == 0 || options.prefetch > ferry::limits::window_messages_max) {
        return ClientError{Errc::rejected, wire::Code::ok, "prefetch: use 1 to 100000"};
    }
    auto made =
        std::make_unique<KafkaSubscription>(std::move(options), std::move(settings).value());
    auto started = made->start();
    if (!started.ok()) return started.error();
    return std::unique_ptr<Subscription>(std::move(made));
}

}  // namespace ferry::transport::kafka
