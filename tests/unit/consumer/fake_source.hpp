#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "ferry/consumer/incoming.hpp"
#include "ferry/consumer/source.hpp"

namespace ferry::test {

/// What a test says of a message. The position is given by the queue.
struct Sent {
    std::string payload;
    std::string id = {};
    std::string key = {};
    wire::Headers headers = {};
    std::uint64_t published_at_ms = 0;
    std::string routing_key = "queue";
    std::string correlation_id = {};
    std::string reply_to = {};
};

/// A delivery with bytes of its own.
transport::Received make_received(const Sent& sent, std::uint64_t position, std::uint64_t attempt,
                                  transport::DeliveryTag tag = {1, 1, 1});
/// The same, read as the runtime does.
consumer::Incoming make_incoming(const Sent& sent, std::uint64_t position = 1,
                                 std::uint64_t attempt = 1);
/// "PRODUCER:epoch:sequence" with a well-formed producer.
std::string outbox_id(std::uint64_t sequence, std::uint64_t epoch = 1, char producer = 'a');

/// A queue in memory with leases, attempts, connections that break and dead letters.
///
/// Threads   Any. Lives as long as sources made from it.
class FakeQueue {
public:
    std::uint64_t send(Sent sent);
    /// Unacked messages return; tags from before are stale.
    void break_connection();
    /// One lease ends by time: the message returns.
    void end_lease(std::uint64_t position);
    /// Acks are refused from now on, as without a connection.
    void refuse_acks(bool refuse);
    void refuse_dead_letters(bool refuse);
    void finish();

    [[nodiscard]] std::size_t unsettled() const;
    [[nodiscard]] std::size_t unacked() const;
    [[nodiscard]] std::size_t extended() const;
    [[nodiscard]] std::vector<std::pair<std::string, std::string>> dead() const;  // payload, reason
    [[nodiscard]] std::uint64_t floor() const;

    /// `keeps`: as Source::keeps_what_it_gave. Such a one gives its messages with late parts.
    std::unique_ptr<consumer::Source> source(std::size_t prefetch = 100, bool keeps = false);
    consumer::Place place_now() const;
    std::string log_id = "log-1";
    /// As Source::settle_pause. Set before there is a source.
    consumer::Duration settle_pause{0};
    /// How often late parts were read.
    std::atomic<std::size_t> late_reads{0};
    /// How often acks came.
    [[nodiscard]] std::size_t settles() const;

private:
    friend class FakeSource;
    struct Stored {
        Sent sent;
        std::uint64_t attempts = 0;
        std::uint64_t tag = 0;  // 0: ready
        bool done = false;      // takes no place of the window
        std::chrono::steady_clock::time_point due = {};
    };

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::uint64_t, Stored> messages_;
    std::vector<std::pair<std::string, std::string>> dead_;
    std::vector<transport::DeliveryTag> lost_;
    std::uint64_t next_position_ = 100;
    std::uint64_t next_tag_ = 1;
    std::uint64_t generation_ = 1;
    std::size_t extended_ = 0;
    std::size_t settles_ = 0;
    bool refuse_acks_ = false;
    bool refuse_dead_letters_ = false;
    bool finished_ = false;
};

/// Waits until it is so; false: not within 20 seconds.
bool eventually(const std::function<bool()>& condition);

}  // namespace ferry::test
