#include <algorithm>
#include <array>
#include <span>

#include "ferry/platform/clock.hpp"
#include "read.hpp"
#include "subscription_impl.hpp"

namespace ferry::transport::kafka {
namespace {

constexpr int poll_wait_ms = 20;
constexpr int dry_ms = 3;  // without a message where many came
constexpr std::size_t prompted_partitions_max = 16;
constexpr std::size_t batch_messages = 500;
constexpr int topic_shift = 60;
constexpr int partition_shift = 44;

/// Unique in what a subscription reads, and the same each time a message comes.
std::uint64_t position_of(PartitionId id, std::int64_t offset) {
    return (std::uint64_t{id.topic} << topic_shift) |
           (static_cast<std::uint64_t>(id.partition) << partition_shift) |
           (static_cast<std::uint64_t>(offset) + 1);
}

}  // namespace

void KafkaSubscription::poll() {
    while (!stopping_) {
        // Partitions have a queue of their own: only errors and rebalances come this way.
        if (rd_kafka_message_t* const event = rd_kafka_consumer_poll(handle_.get(), poll_wait_ms)) {
            trouble(*event);
            rd_kafka_message_destroy(event);
        }
        answer_prompt();
        release_due();
        pause_and_resume();
        // Of acks that nobody waits for. What fails is in the next one.
        if (commit_due()) static_cast<void>(commit());
    }
    static_cast<void>(commit());
    rd_kafka_consumer_close(handle_.get());
}

bool KafkaSubscription::commit_due() const {
    const std::scoped_lock lock(mutex_);
    return Clock::now() - committed_at_ >= std::chrono::milliseconds(options_.commit_every_ms);
}

// ---- reading ----

Ledger::Out* KafkaSubscription::first_ready_locked() {
    for (; !ready_.empty(); ready_.pop_front()) {
        Ledger::Out* const first = ledger_.find(ready_.front());
        // Its partition went, or goes: the next owner has it.
        if (first != nullptr && !leaving_.contains(first->from)) return first;
    }
    return nullptr;
}

template <class Put>
Status KafkaSubscription::hand_out(Timeout timeout, std::size_t at_most, Reading how,
                                   const Put& put) {
    std::unique_lock lock(mutex_);
    const auto first = wait_for_ready(lock, timeout, how);
    if (!first.ok()) return first.error();
    Ledger::Out* next = first.value();
    for (std::size_t taken = 0; next != nullptr && taken < at_most; ++taken) {
        ready_.pop_front();
        next->handed = true;
        if (how == Reading::whole) next->received->complete();
        put(*next->received);
        next = first_ready_locked();
    }
    return ok_status();
}

Result<Received> KafkaSubscription::next(Timeout timeout) {
    Received received;
    const Status got =
        hand_out(timeout, 1, Reading::whole, [&](const LateReceived& one) { received = one; });
    if (!got.ok()) return got.error();
    return received;
}

Status KafkaSubscription::next_some(Timeout timeout, std::size_t at_most,
                                    std::vector<Received>& out) {
    return hand_out(timeout, at_most, Reading::whole,
                    [&](const LateReceived& one) { out.push_back(one); });
}

Status KafkaSubscription::next_late(Timeout timeout, std::size_t at_most,
                                    const std::function<void(const LateReceived&)>& put) {
    return hand_out(timeout, at_most, Reading::late, put);
}

Result<Ledger::Out*> KafkaSubscription::wait_for_ready(std::unique_lock<std::mutex>& lock,
                                                       Timeout timeout, Reading how) {
    if (Ledger::Out* const first = first_ready_locked()) return first;
    const auto deadline = Clock::now() + timeout;
    bool gathered = false;  // room, for a moment
    for (bool last = false;;) {
        if (Ledger::Out* const first = first_ready_locked()) return first;
        if (over_) return Error{Errc::not_found, 0, 0, "the Kafka consumer has ended"};
        if (last) return Error{Errc::would_block, 0, 0, "no message came in time"};
        const auto now = Clock::now();
        last = now >= deadline;
        const auto wait =
            std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now),
                       std::chrono::milliseconds(0), std::chrono::milliseconds(poll_wait_ms));
        const std::size_t room = std::min(room_locked(), batch_messages);
        const bool enough = room >= low_water() || gathered || last;
        if (fetching_ || room == 0 || !enough) {
            gathered = arrived_.wait_for(lock, wait) == std::cv_status::timeout;
            continue;
        }
        fetching_ = true;
        lock.unlock();
        fetch(room, wait, how);
        lock.lock();
        fetching_ = false;
        gathered = false;
        arrived_.notify_all();  // whoever else waits: for these, or to be the next who reads
    }
}

void KafkaSubscription::fetch(std::size_t room, std::chrono::milliseconds wait, Reading how) {
    std::array<rd_kafka_message_t*, batch_messages> messages;
    const std::scoped_lock no_rebalance(fetch_mutex_);
    if (stopping_) return;
    const std::size_t waiting = rd_kafka_queue_length(queue_.get());
    if (waiting >= read_ahead_messages) was_full_ = true;
    if (was_full_ && waiting < read_ahead_messages * 3 / 4) prompt();
    // The batch call waits until it is full: the first one alone, then what is there.
    const auto first = std::min(wait, std::chrono::milliseconds(dry_ms));
    messages[0] = rd_kafka_consume_queue(queue_.get(), static_cast<int>(first.count()));
    if (messages[0] == nullptr && wait > first) {
        if (was_flowing_) prompt();
        was_flowing_ = false;
        const auto rest = wait - first;
        messages[0] = rd_kafka_consume_queue(queue_.get(), static_cast<int>(rest.count()));
    }
    if (messages[0] == nullptr) return;
    was_flowing_ = true;
    std::size_t count = 1;
    if (room > 1) {
        const ssize_t more =
            rd_kafka_consume_batch_queue(queue_.get(), 0, messages.data() + 1, room - 1);
        if (more > 0) count += static_cast<std::size_t>(more);
    }
    take({messages.data(), count}, how);
}

// librdkafka reads no further while its queue is full, and up to 2.2 looks at it again only when
// something comes to the thread of that broker's connection, or after a second; a reader that is
// faster than that runs dry. So something comes: a question that costs Kafka next to nothing.
void KafkaSubscription::prompt() {
    was_full_ = false;
    prompted_ = true;
    rd_kafka_queue_yield(events_.get());
}

void KafkaSubscription::answer_prompt() {
    if (!prompted_.exchange(false)) return;
    std::vector<PartitionId> asked;
    {
        const std::scoped_lock lock(mutex_);
        if (ended_partitions_.size() >= ledger_.assigned()) return;  // there is no more
        asked = ledger_.partitions();
    }
    if (asked.size() > prompted_partitions_max) asked.resize(prompted_partitions_max);
    for (const PartitionId id : asked) {
        std::int64_t low = 0;
        std::int64_t high = 0;
        rd_kafka_query_watermark_offsets(handle_.get(), topics_[id.topic].c_str(), id.partition,
                                         &low, &high, poll_wait_ms);
    }
}

std::size_t KafkaSubscription::low_water() const {
    return std::clamp<std::size_t>(options_.prefetch / 4, 1, batch_messages);
}

std::size_t KafkaSubscription::room_locked() const {
    if (ledger_.done() >= ferry::limits::window_messages_max) return 0;
    const std::size_t taken = ledger_.out() - std::min(ledger_.out(), due_.size());
    return taken >= options_.prefetch ? 0 : options_.prefetch - taken;
}

void KafkaSubscription::acked_locked() {
    if (!leaving_.empty()) settled_.notify_all();
    if (!fetching_ && room_locked() == low_water()) arrived_.notify_one();
}

void KafkaSubscription::take(std::span<rd_kafka_message_t* const> messages, Reading how) {
    if (how == Reading::late) {
        std::size_t bytes = 0;
        for (const rd_kafka_message_t* const one : messages) bytes += LateBatch::bytes_of(*one);
        late_ = std::make_shared<LateBatch>(lent_, messages.size(), bytes);
        batch_.begin(0, 0);
    } else {
        std::size_t payloads = 0;
        for (const rd_kafka_message_t* const one : messages) payloads += one->len;
        batch_.begin(messages.size(), payloads);
    }
    const std::uint64_t now = system_clock().now().wall_ms;
    std::vector<rd_kafka_message_t*> errors;
    const rd_kafka_topic_t* topic = nullptr;
    PartitionId from;
    {
        const std::scoped_lock lock(mutex_);
        for (rd_kafka_message_t* const one : messages) {
            if (topic == nullptr || topic != one->rkt) {
                topic = one->rkt;
                from = id_of(topic == nullptr ? "" : rd_kafka_topic_name(topic), one->partition);
            }
            from.partition = one->partition;
            if (one->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                if (enter(*one, from, now, how)) continue;
            } else if (one->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                ended_partitions_.insert(from);
            } else {
                errors.push_back(one);
                continue;
            }
            rd_kafka_message_destroy(one);
        }
        batch_.show();
    }
    const std::size_t late = late_ == nullptr ? 0 : late_->size();
    late_.reset();
    watch_.received.fetch_add(batch_.size() + late, std::memory_order_relaxed);
    for (rd_kafka_message_t* const one : errors) {
        trouble(*one);
        rd_kafka_message_destroy(one);
    }
}

bool KafkaSubscription::enter(rd_kafka_message_t& one, PartitionId from, std::uint64_t now,
                              Reading how) {
    if (!ended_partitions_.empty()) ended_partitions_.erase(from);
    const std::uint64_t tag = ledger_.add(from, one.offset);
    if (tag == 0) return false;
    Ledger::Out& out = *ledger_.find(tag);
    // What comes from the retry topic says in its headers which attempt it is, and when.
    const bool retry = from.topic != 0;
    const bool late = how == Reading::late && !retry;
    RecordExtras extras;
    if (late) {
        late_->add(&one, topics_[from.topic], *out.received, late_);
    } else {
        const RecordExtras read = read_whole(one, from, *out.received);
        if (retry) extras = read;
    }
    out.attempt = extras.attempt;
    Delivery& delivery = out.received->delivery;
    delivery.tag = {1, tag, 1};
    delivery.position = position_of(from, one.offset);
    delivery.attempt = extras.attempt;
    const std::int64_t published = rd_kafka_message_timestamp(&one, nullptr);
    delivery.published_ms = published > 0 ? static_cast<std::uint64_t>(published) : 0;
    if (extras.due_ms > now) {
        due_.emplace(extras.due_ms, tag);
    } else {
        ready_.push_back(tag);
    }
    return late;
}

RecordExtras KafkaSubscription::read_whole(const rd_kafka_message_t& one, PartitionId from,
                                           LateReceived& to) {
    read_record(one, record_);
    record_.topic = topics_[from.topic];
    const RecordExtras extras = batch_.write(record_, to);
    watch_.headers_over.fetch_add(extras.dropped, std::memory_order_relaxed);
    return extras;
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
    wake_reader_locked();
    arrived_.notify_all();
}

// Whoever reads may wait in librdkafka's queue instead of for us.
void KafkaSubscription::wake_reader_locked() {
    if (fetching_ && queue_) rd_kafka_queue_yield(queue_.get());
    arrived_.notify_one();
}

void KafkaSubscription::release_due() {
    const std::uint64_t now = system_clock().now().wall_ms;
    const std::scoped_lock lock(mutex_);
    while (!due_.empty() && due_.begin()->first <= now) {
        ready_.push_back(due_.begin()->second);
        due_.erase(due_.begin());
        wake_reader_locked();
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

PartitionId KafkaSubscription::id_of(std::string_view topic, std::int32_t partition) const {
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
    const std::scoped_lock no_fetch(fetch_mutex_);
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
    const std::scoped_lock no_fetch(fetch_mutex_);
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
