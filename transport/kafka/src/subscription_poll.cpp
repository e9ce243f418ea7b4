#include <algorithm>
#include <array>

#include "ferry/platform/clock.hpp"
#include "ferry/wire/encoder.hpp"
#include "read.hpp"
#include "subscription_impl.hpp"

namespace ferry::transport::kafka {
namespace {

constexpr int poll_wait_ms = 20;
constexpr std::size_t batch_messages = 500;
constexpr int topic_shift = 60;
constexpr int partition_shift = 44;

/// Unique in what a subscription reads, and the same each time a message comes.
std::uint64_t position_of(PartitionId id, std::int64_t offset) {
    return (std::uint64_t{id.topic} << topic_shift) |
           (static_cast<std::uint64_t>(id.partition) << partition_shift) |
           (static_cast<std::uint64_t>(offset) + 1);
}

/// Where the parts of a message begin in the bytes of its batch.
struct Parts {
    std::uint64_t tag = 0;
    std::size_t exchange = 0;
    std::size_t routing_key = 0;
    std::size_t properties = 0;
    std::size_t payload = 0;
    std::size_t end = 0;
};

/// Requires  the bytes grow no more.
void show(const Parts& parts, const std::shared_ptr<std::vector<std::byte>>& bytes, Received& out) {
    const std::byte* const base = bytes->data();
    const std::string_view all(reinterpret_cast<const char*>(base), bytes->size());
    MessageView& view = out.delivery.message;
    view.exchange = all.substr(parts.exchange, parts.routing_key - parts.exchange);
    view.routing_key = all.substr(parts.routing_key, parts.properties - parts.routing_key);
    view.properties = {base + parts.properties, parts.payload - parts.properties};
    view.payload = {base + parts.payload, parts.end - parts.payload};
    out.bytes = bytes;
}

}  // namespace

void KafkaSubscription::poll() {
    std::array<rd_kafka_message_t*, batch_messages> messages{};
    while (!stopping_) {
        // Partitions have a queue of their own: only errors and rebalances come this way.
        if (rd_kafka_message_t* const event = rd_kafka_consumer_poll(handle_.get(), 0)) {
            trouble(*event);
            rd_kafka_message_destroy(event);
        }
        release_due();
        pause_and_resume();
        // Of acks that nobody waits for. What fails is in the next one.
        if (commit_due()) static_cast<void>(commit());
        std::size_t room = 0;
        {
            std::unique_lock lock(mutex_);
            room = std::min(room_locked(), messages.size());
            if (room == 0) {
                settled_.wait_for(lock, std::chrono::milliseconds(poll_wait_ms));
                continue;
            }
        }
        // The batch call waits until it is full: the first one alone, then what is there.
        messages[0] = rd_kafka_consume_queue(queue_.get(), poll_wait_ms);
        if (messages[0] == nullptr) continue;
        std::size_t count = 1;
        if (room > 1) {
            const ssize_t more =
                rd_kafka_consume_batch_queue(queue_.get(), 0, messages.data() + 1, room - 1);
            if (more > 0) count += static_cast<std::size_t>(more);
        }
        take(messages.data(), count);
    }
    static_cast<void>(commit());
    rd_kafka_consumer_close(handle_.get());
}

bool KafkaSubscription::commit_due() const {
    const std::scoped_lock lock(mutex_);
    return Clock::now() - committed_at_ >= std::chrono::milliseconds(options_.commit_every_ms);
}

std::size_t KafkaSubscription::room_locked() const {
    const std::size_t taken = ledger_.out() - std::min(ledger_.out(), due_.size());
    return taken >= options_.prefetch ? 0 : options_.prefetch - taken;
}

void KafkaSubscription::take(rd_kafka_message_t** messages, std::size_t count) {
    auto bytes = std::make_shared<std::vector<std::byte>>();
    std::vector<Parts> all;
    all.reserve(count);
    std::unique_lock lock(mutex_);
    RecordView record;
    wire::Message message;
    RecordExtras extras;
    const std::uint64_t now = system_clock().now().wall_ms;
    const auto append = [&](std::string_view text) {
        const Bytes more = as_bytes(text);
        bytes->insert(bytes->end(), more.begin(), more.end());
    };
    for (std::size_t i = 0; i < count; ++i) {
        const rd_kafka_message_t& one = *messages[i];
        if (one.err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            ended_partitions_.insert(id_of(rd_kafka_topic_name(one.rkt), one.partition));
            continue;
        }
        if (one.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            lock.unlock();
            trouble(one);
            lock.lock();
            continue;
        }
        const PartitionId id = id_of(rd_kafka_topic_name(one.rkt), one.partition);
        ended_partitions_.erase(id);
        Parts parts;
        parts.tag = ledger_.add(id, one.offset);
        if (parts.tag == 0) continue;
        read_record(one, record);
        to_message(record, message, extras);
        watch_.headers_over.fetch_add(extras.dropped, std::memory_order_relaxed);
        parts.exchange = bytes->size();
        append(message.exchange);
        parts.routing_key = bytes->size();
        append(message.routing_key);
        parts.properties = bytes->size();
        wire::Encoder encoder(*bytes);
        wire::write_properties(encoder, message.properties);
        parts.payload = bytes->size();
        append(record.payload);
        parts.end = bytes->size();
        Ledger::Out& out = *ledger_.find(parts.tag);
        out.attempt = extras.attempt;
        Delivery& delivery = out.received.delivery;
        delivery.tag = {1, parts.tag, 1};
        delivery.position = position_of(id, one.offset);
        delivery.attempt = extras.attempt;
        delivery.published_ms = message.properties.published_at_ms;
        if (extras.due_ms > now) {
            due_.emplace(extras.due_ms, parts.tag);
        } else {
            ready_.push_back(parts.tag);
        }
        all.push_back(parts);
    }
    for (const Parts& parts : all) show(parts, bytes, ledger_.find(parts.tag)->received);
    watch_.received.fetch_add(all.size(), std::memory_order_relaxed);
    lock.unlock();
    arrived_.notify_all();
    for (std::size_t i = 0; i < count; ++i) rd_kafka_message_destroy(messages[i]);
}

void KafkaSubscription::trouble(const rd_kafka_message_t& message) {
    const char* const topic = message.rkt == nullptr ? "" : rd_kafka_topic_name(message.rkt);
    const std::string text = text_of(message.err, std::string("topic ") + topic);
    watch_.error(message.err, text);
    switch (message.err) {
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR__FATAL:
        case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
            return end(text);
        default:
            return;  // librdkafka tries again
    }
}

void KafkaSubscription::end(std::string why) {
    const std::scoped_lock lock(mutex_);
    over_ = true;
    if (why_.empty()) why_ = std::move(why);
    arrived_.notify_all();
}

void KafkaSubscription::release_due() {
    const std::uint64_t now = system_clock().now().wall_ms;
    const std::scoped_lock lock(mutex_);
    while (!due_.empty() && due_.begin()->first <= now) {
        ready_.push_back(due_.begin()->second);
        due_.erase(due_.begin());
        arrived_.notify_one();
    }
}

// A partition whose first message stays open would fill the memory with acks behind it.
void KafkaSubscription::pause_and_resume() {
    std::vector<PartitionId> stop;
    std::vector<PartitionId> go;
    {
        const std::scoped_lock lock(mutex_);
        for (const PartitionId id : ledger_.partitions()) {
            const std::size_t span = ledger_.span(id);
            const bool waits = id.topic != 0 && due_.size() >= limits::retry_waiting_max;
            const bool full = span > limits::settled_ahead_max;
            const bool paused = paused_.contains(id);
            if (!paused && (waits || full)) {
                stop.push_back(id);
                paused_.insert(id);
            } else if (paused && !waits && span < limits::settled_ahead_max / 2) {
                go.push_back(id);
                paused_.erase(id);
            }
        }
    }
    pause(stop, true);
    pause(go, false);
}

void KafkaSubscription::pause(const std::vector<PartitionId>& which, bool on) {
    if (which.empty()) return;
    const PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(which.size())));
    for (const PartitionId id : which) {
        rd_kafka_topic_partition_list_add(list.get(), topics_[id.topic].c_str(), id.partition);
    }
    if (on) {
        rd_kafka_pause_partitions(handle_.get(), list.get());
    } else {
        rd_kafka_resume_partitions(handle_.get(), list.get());
    }
}

// ---- rebalances ----

PartitionId KafkaSubscription::id_of(const char* topic, std::int32_t partition) const {
    const bool retry = topics_.size() > 1 && topics_[1] == topic;
    return {retry ? 1U : 0U, partition};
}

void KafkaSubscription::on_rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t error,
                                     rd_kafka_topic_partition_list_t* list, void* opaque) {
    KafkaSubscription& self = *static_cast<OwnedWatch*>(static_cast<Watch*>(opaque))->owner;
    if (error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        self.assigned(list);
    } else if (error == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        self.revoked(list, rd_kafka_assignment_lost(handle) != 0);
    } else {
        rd_kafka_assign(handle, nullptr);
    }
}

void KafkaSubscription::assigned(rd_kafka_topic_partition_list_t* list) {
    {
        const std::scoped_lock lock(mutex_);
        for (int i = 0; i < list->cnt; ++i) {
            const PartitionId id = id_of(list->elems[i].topic, list->elems[i].partition);
            ledger_.assign(id);
            leaving_.erase(id);
        }
        watch_.assigned = ledger_.assigned();
    }
    for (int i = 0; i < list->cnt; ++i) {
        const Queue own(rd_kafka_queue_get_partition(handle_.get(), list->elems[i].topic,
                                                     list->elems[i].partition));
        if (own) rd_kafka_queue_forward(own.get(), queue_.get());
    }
    const KafkaError error(rd_kafka_incremental_assign(handle_.get(), list));
    if (error) watch_.error(rd_kafka_error_code(error.get()), rd_kafka_error_string(error.get()));
}

void KafkaSubscription::revoked(rd_kafka_topic_partition_list_t* list, bool for_good) {
    std::vector<PartitionId> leaving;
    for (int i = 0; i < list->cnt; ++i) {
        leaving.push_back(id_of(list->elems[i].topic, list->elems[i].partition));
    }
    if (!for_good) {
        drain(leaving);
        // At the old generation still: what was acked in time is the new owner's beginning.
        static_cast<void>(commit());
    }
    {
        const std::scoped_lock lock(mutex_);
        for (const PartitionId id : leaving) {
            for (const std::uint64_t tag : ledger_.revoke(id)) {
                lost_.push_back({1, tag, 1});
                watch_.lost.fetch_add(1);
            }
            leaving_.erase(id);
            paused_.erase(id);
            ended_partitions_.erase(id);
        }
        std::erase_if(due_, [&](const auto& one) { return ledger_.find(one.second) == nullptr; });
        watch_.assigned = ledger_.assigned();
        if (!stopping_) watch_.revoked.fetch_add(leaving.size());
    }
    const KafkaError error(rd_kafka_incremental_unassign(handle_.get(), list));
    if (error) watch_.error(rd_kafka_error_code(error.get()), rd_kafka_error_string(error.get()));
}

// Nothing more of them is handed out; what is in handlers may end and be acked.
void KafkaSubscription::drain(const std::vector<PartitionId>& leaving) {
    const auto deadline = Clock::now() + std::chrono::milliseconds(options_.drain_ms);
    std::unique_lock lock(mutex_);
    leaving_.insert(leaving.begin(), leaving.end());
    settled_.wait_until(lock, deadline, [&] {
        if (stopping_) return true;
        return std::all_of(leaving.begin(), leaving.end(),
                           [&](PartitionId id) { return ledger_.handed(id) == 0; });
    });
}

}  // namespace ferry::transport::kafka
