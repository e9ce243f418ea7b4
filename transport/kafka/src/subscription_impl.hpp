#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "batch.hpp"
#include "ferry/transport/kafka/publisher.hpp"
#include "ferry/transport/kafka/records.hpp"
#include "ferry/transport/kafka/subscription.hpp"
#include "handle.hpp"
#include "late_batch.hpp"
#include "ledger.hpp"
#include "produce.hpp"

namespace ferry::transport::kafka {

/// Messages are read by whoever asks for the next one, one caller for all of them; the poller keeps
/// the membership: rebalances, commits, retries that are due. The mutex guards the ledger and what
/// stands beside it, never a call that waits for Kafka; commits are made one at a time, so that an
/// older offset never follows a newer one. While messages are on their way from librdkafka into the
/// ledger no partition comes or goes (fetch_mutex): what was read before a partition went can never
/// be taken for what it brings when it comes back. Order of locks: fetch_mutex, mutex.
class KafkaSubscription final : public Subscription {
public:
    KafkaSubscription(SubscriptionOptions options, Settings settings);
    ~KafkaSubscription() override { close(); }
    Answer<Done> start();

    Result<Received> next(Timeout timeout) override;
    Status next_some(Timeout timeout, std::size_t at_most, std::vector<Received>& out) override;
    Status next_late(Timeout timeout, std::size_t at_most,
                     const std::function<void(const LateReceived&)>& put) override;
    Status ack(const DeliveryTag& tag) override;
    Status nack(const DeliveryTag& tag, bool requeue) override;
    Answer<std::vector<DeliveryTag>> settle(std::span<const DeliveryTag> tags,
                                            Timeout timeout) override;
    void done(std::span<const DeliveryTag> tags) override;
    Status nack_later(const DeliveryTag& tag, Timeout delay) override;
    Status dead_letter(const DeliveryTag& tag, const Message& copy, Timeout timeout) override;
    std::vector<DeliveryTag> lost() override;
    std::string place() const override;
    bool connected() const override { return watch_.connected; }
    std::string metrics() const override;
    std::uint32_t partitions() const override;
    bool at_end() const override;
    void close() override;

    /// What librdkafka reads ahead.
    static constexpr std::size_t read_ahead_messages = 100'000;

private:
    using Clock = std::chrono::steady_clock;
    enum class Reading : std::uint8_t { whole, late };
    struct OwnedWatch : Watch {
        OwnedWatch(const char* role, KafkaSubscription* whose) : Watch(role), owner(whose) {}
        KafkaSubscription* owner;
    };

    // The poller:
    void poll();
    void trouble(const rd_kafka_message_t& message);
    [[nodiscard]] bool commit_due() const;
    void release_due();
    void pause_and_resume();
    void pause(const std::vector<PartitionId>& which, bool on);
    static void on_rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t error,
                             rd_kafka_topic_partition_list_t* list, void* opaque);
    void assigned(rd_kafka_topic_partition_list_t* list);
    void revoked(rd_kafka_topic_partition_list_t* list, bool for_good);
    void drain(const std::vector<PartitionId>& leaving);
    void end(std::string why);

    // Any thread:
    rd_kafka_resp_err_t commit();
    /// Null: none.
    Ledger::Out* first_ready_locked();
    template <class Put>
    Status hand_out(Timeout timeout, std::size_t at_most, Reading how, const Put& put);
    Result<Ledger::Out*> wait_for_ready(std::unique_lock<std::mutex>& lock, Timeout timeout,
                                        Reading how);
    [[nodiscard]] std::size_t room_locked() const;
    /// So much room is worth a look into Kafka; less, after a moment.
    [[nodiscard]] std::size_t low_water() const;
    void acked_locked();
    /// Reads up to `room` messages into the ledger, waits at most so long for the first.
    void fetch(std::size_t room, std::chrono::milliseconds wait, Reading how);
    void take(std::span<rd_kafka_message_t* const> messages, Reading how);
    /// True: the batch keeps the record.
    bool enter(rd_kafka_message_t& one, PartitionId from, std::uint64_t now, Reading how);
    RecordExtras read_whole(const rd_kafka_message_t& one, PartitionId from, LateReceived& to);
    void wake_reader_locked();
    void prompt();
    void answer_prompt();
    [[nodiscard]] PartitionId id_of(std::string_view topic, std::int32_t partition) const;
    Status copy_away(std::uint64_t tag, const std::string& topic, std::uint64_t attempt,
                     std::uint64_t due_ms);
    void moved(std::uint64_t tag, bool retry, const Outcome& outcome);
    void hand_out_again_locked(std::uint64_t tag);

    const SubscriptionOptions options_;
    const Settings settings_;
    OwnedWatch watch_;
    std::vector<std::string> topics_;  // by index: the queue's, the retry topic
    Kafka handle_;
    Queue events_;  // what the poller reads
    Queue queue_;   // of all partitions that come here
    std::string cluster_;
    std::thread poller_;
    std::atomic<bool> stopping_{false};

    std::mutex commit_mutex_;
    std::mutex fetch_mutex_;
    mutable std::mutex mutex_;
    bool fetching_ = false;  // somebody is in fetch()
    RecordView record_;      // of fetch(), as batch_: for their capacity
    Batch batch_;
    std::shared_ptr<LateBatch> late_;
    const std::shared_ptr<LentRecords> lent_;
    bool was_full_ = false;     // of fetch(): librdkafka had read as far ahead as it may
    bool was_flowing_ = false;  // of fetch(): the last one had messages
    std::atomic<bool> prompted_{false};
    std::condition_variable arrived_;  // next()
    std::condition_variable settled_;  // the poller: a drain is over
    Ledger ledger_;
    std::deque<std::uint64_t> ready_;
    std::multimap<std::uint64_t, std::uint64_t> due_;  // ms since 1970: tag
    std::set<PartitionId> leaving_;
    std::set<PartitionId> paused_;
    std::set<PartitionId> ended_partitions_;
    std::vector<DeliveryTag> lost_;
    bool over_ = false;
    std::string why_;
    Clock::time_point committed_at_;

    // Last: its callbacks use the rest.
    std::unique_ptr<Publisher> copies_;
};

}  // namespace ferry::transport::kafka
