#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "core.hpp"
#include "encode.hpp"
#include "mailbox.hpp"
#include "meter.hpp"
#include "pace.hpp"
#include "store.hpp"
#include "waker.hpp"

namespace ferry::outbox::relay {

/// The relay's thread: turns events into calls of Core, and what Core decides into SQL and
/// publishes.
///
/// One turn: hold the lease, be connected, take answers, send what is due, send new rows, write
/// down what is finished, sleep until something happens.
///
///   crash after reading, before sending        the next run reads it again
///   crash after the broker stored it           the broker's mark says so on connect
///   crash after marking                        the row is gone, and that was right
///   crash between reserving and sending        nothing was sent; reserving too much does no harm
///
/// Threads   run(): the relay's. The rest: any.
class Worker {
public:
    Worker(Options options, Store store, Waker& waker, Meter& meter);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    void run();
    /// One turn of run() without its sleep, for who keeps the time himself; never together with
    /// run(). `announced`: something was committed. Returns after how many milliseconds the next
    /// turn is due, if no answer and no commit comes before.
    std::uint64_t step(bool announced);
    void stop_gracefully(std::uint64_t patience_ms);
    void stop_at_once();
    /// Something was committed.
    void announce() noexcept {
        announced_.store(true);
        waker_.signal();
    }
    bool wait_ended(std::chrono::milliseconds patience);
    [[nodiscard]] bool left_cleanly() const { return clean_.load(); }
    [[nodiscard]] std::string failure() const;

private:
    enum class Next : std::uint8_t { go_on, wait };
    enum class Stop : std::uint8_t { no, gracefully, at_once };

    // ---- worker.cpp: the loop and the lease ----
    void turn();
    void sleep();
    std::uint64_t rest_ms();
    void note_wake(bool woken_by_commit);
    [[nodiscard]] std::uint64_t now_ms() const { return clock_.now().mono.ns / 1'000'000; }
    [[nodiscard]] std::uint64_t wall_ms() const { return clock_.now().wall_ms; }
    bool lead();
    bool take_lease(std::uint64_t now);
    bool renew_lease(std::uint64_t now);
    void lose_lease(const char* why);
    void leave();
    [[nodiscard]] bool stopping() const { return stop_.load() != Stop::no; }
    [[nodiscard]] bool all_done();
    void fallback_check(std::uint64_t now);
    void check_file();
    void check_numbers();
    void measure();
    void log(LogLevel level, const std::string& line) const;
    void trouble(const sqlite::Problem& problem, const char* doing);
    void fail(std::string why);

    // ---- worker_connect.cpp ----
    void connect(std::uint64_t now);
    bool connect_with(const Start& start);
    transport::Answer<std::unique_ptr<transport::SequencedPublisher>> make_publisher();
    void recall(transport::ProducerState& state, const Start& start) const;
    enum class Anew : std::uint8_t { epoch, numbers, identity };
    void begin_anew(Anew kind, const std::string& reason);
    bool write_all();
    bool settle_known(const transport::ProducerState& state, const Start& start);
    bool load(const transport::ProducerState& state, const Start& start);
    void fenced(const std::string& text);
    void disconnect();
    void connect_failed(const std::string& why);

    // ---- worker_send.cpp ----
    void take_answers();
    void take_answer(const Mailbox::Answer& answer, std::uint64_t now);
    void send_due(std::uint64_t now);
    void send_new(std::uint64_t now);
    bool send_rows(std::uint64_t upto, std::uint64_t now);
    bool publish(const RowView& row);
    [[nodiscard]] std::uint64_t slack(std::uint64_t now) const;
    void note_rate(std::uint64_t rows, std::uint64_t now);
    void note_times(Range ids);

    // ---- worker_write.cpp ----
    void write_if_due(std::uint64_t now);
    bool write(std::uint64_t reserve);
    [[nodiscard]] std::uint64_t active_pause() const;
    void sync_parked(std::uint64_t now);
    void expire(std::uint64_t now);

    const Options options_;
    const Clock& clock_;
    Random& random_;
    Store store_;
    Waker& waker_;
    Meter& meter_;
    Mailbox mailbox_;
    Mailbox::Content content_;
    Core core_;
    Pace pace_;  // of a backlog, while the application writes
    MessageEncoder encoder_;
    std::unique_ptr<transport::SequencedPublisher> publisher_;
    const std::string token_;  // of this relay, as owner of the lease

    std::atomic<Stop> stop_{Stop::no};
    std::atomic<std::uint64_t> stop_patience_ms_{0};
    std::atomic<bool> clean_{false};
    std::atomic<bool> announced_{false};
    std::optional<std::uint64_t> stop_by_;
    mutable std::mutex ended_mutex_;
    std::condition_variable ended_changed_;
    bool ended_ = false;
    std::string failure_;

    // the lease
    bool leading_ = false;
    std::uint64_t lease_ends_ = 0;  // by the monotonic clock
    std::uint64_t lease_renew_ = 0;
    Store::Lease seen_lease_;
    std::uint64_t seen_since_ = 0;
    std::uint64_t lease_retry_ = 0;

    // the connection
    std::string producer_;
    std::uint64_t epoch_ = 0;
    std::uint64_t base_ = 0;
    std::uint64_t reserved_ = 0;
    std::uint64_t connect_at_ = 0;
    std::uint32_t connect_failures_ = 0;
    std::optional<std::pair<Anew, std::string>> anew_;  // to be done before anything else

    // reading
    bool maybe_new_ = true;
    bool maybe_more_ = false;  // the last turn stopped with rows left that may go
    std::uint64_t look_again_ = 0;
    std::uint32_t looks_left_ = 0;
    std::uint64_t fallback_at_ = 0;
    std::uint64_t active_until_ = 0;  // the application was writing lately
    std::uint64_t paced_until_ = 0;   // no more of the backlog before
    double rate_ = 0;                 // new rows per millisecond lately, for the slack
    std::uint64_t rate_count_ = 0;
    std::uint64_t rate_since_ = 0;
    std::uint64_t reserve_since_ = 0;    // a reservation is wanted since then; 0: none is
    std::uint64_t reserve_wait_ms_ = 0;  // how long the last one had to wait for the lock
    std::deque<std::pair<std::uint64_t, std::uint64_t>> created_;  // id, created_ms; in flight

    // writing
    std::uint64_t write_after_ = 0;  // marks wait until then
    std::uint64_t finished_since_ = 0;
    std::uint64_t write_rows_ = 500;
    std::uint32_t write_failures_ = 0;
    std::uint64_t write_retry_ = 0;
    bool expire_more_ = false;
    bool sync_wanted_ = false;
    bool measure_wanted_ = false;

    Figures figures_;
    Histogram histogram_;
    std::uint64_t device_ = 0;
    std::uint64_t inode_ = 0;
};

}  // namespace ferry::outbox::relay
