#pragma once

#include <uv.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "ferry/platform/random.hpp"
#include "ferry/transport/admin.hpp"
#include "ferry/transport/options.hpp"
#include "ferry/transport/port.hpp"
#include "ferry/wire/frame.hpp"
#include "native/calls.hpp"
#include "native/credentials.hpp"
#include "native/link.hpp"
#include "native/lock_keeper.hpp"
#include "native/publish_pipe.hpp"
#include "native/request.hpp"
#include "native/service_keeper.hpp"
#include "native/subscription_state.hpp"
#include "native/transactions.hpp"

namespace ferry::transport::native {

/// The client behind Client and Subscription: one I/O thread with its own loop.
///
///            connect()          hello ok              producer ok
///   resting ──────────► greeting ───────► opening ───────────────► ready
///      ▲                   │                 │                       │
///      └───────────────────┴── lost(): wait, with backoff ───────────┘
///
///   any ── FENCED, wrong version, stop() ──► over
///
/// Threads   The public functions: any. Everything private that is not marked otherwise: the I/O
/// thread.
///           `mutex_` guards what both sides touch and is never held during a callback or an uv
///           call.
class Core final : public Link::Owner {
public:
    /// `random` is used on any thread, and lives as long as this.
    Core(ClientOptions options, Url url, std::shared_ptr<Credentials> credentials,
         Random& random = system_random());
    ~Core() override;

    /// Starts the thread and waits for the first connection.
    Answer<Done> start();
    /// Ends the thread. What is unconfirmed or unanswered then is told so. Not from the I/O thread.
    void stop();

    /// Instead of start() and stop(): no thread is made, whoever calls drives the loop. So the I/O
    /// thread is the caller's own, on which nothing waits. Requires of end(): not from a callback.
    void begin();
    void end();
    [[nodiscard]] bool driven_by_caller() const { return driven_by_caller_; }

    [[nodiscard]] bool on_io_thread() const {
        return io_thread_.load() == std::this_thread::get_id();
    }
    [[nodiscard]] const ClientOptions& options() const { return options_; }
    [[nodiscard]] Random& random() { return random_; }
    PublishPipe& pipe() { return pipe_; }
    Transactions& transactions() { return transactions_; }
    LockKeeper& locks() { return locks_; }
    Calls& calls() { return calls_; }
    ServiceKeeper& services() { return services_; }
    void wake();

    /// Asks and waits. The result is the msgpack of the answer's third field.
    Answer<wire::Buffer> call(RequestPtr request, Timeout timeout);
    /// Asks and does not wait.
    void post(RequestPtr request);

    /// Publishes a request; what becomes of it is told to `done`. Blocks while the window is full.
    Status publish_call(const Message& request, bool need_consumer,
                        std::function<void(const Outcome&)> done);

    // ---- subscriptions ----
    std::shared_ptr<SubscriptionState> add_subscription(std::string_view queue,
                                                        const SubscribeOptions& options,
                                                        DeliveryHandler handler, bool pull);
    [[nodiscard]] std::shared_ptr<SubscriptionState> find_subscription(std::uint64_t id);
    [[nodiscard]] std::shared_ptr<SubscriptionState> pull_state(std::string_view queue,
                                                                bool no_ack);
    void forget_subscription(std::uint64_t id);
    /// Asks and does not wait; refused, the subscription ends.
    void post_subscribe(RequestPtr request);
    enum class Settlement : std::uint8_t { ack, requeue, reject, extend, delay };
    Status note(SubscriptionState& state, const DeliveryTag& first, const DeliveryTag& last,
                Settlement settlement, std::uint64_t lease_ms);

    // ---- declarations that are made again ----
    struct Declared {
        wire::Verb verb{};
        std::uint32_t field_count = 0;
        wire::Buffer fields;
        std::string key;      // what it is: the same key replaces
        std::string touches;  // a binding goes with the exchange or queue it leads from or to
        std::string touches_too;
    };
    void remember(Declared declared, bool transient);
    /// Forgets the declaration with this key and the bindings that touch it.
    void forget_declared(const std::string& key);

    [[nodiscard]] ServerInfo server() const;
    /// Of it, without a lock.
    [[nodiscard]] std::uint64_t frame_bytes_max() const { return frame_bytes_max_.load(); }
    [[nodiscard]] std::uint64_t payload_bytes_max() const { return payload_bytes_max_.load(); }
    [[nodiscard]] std::string blocked() const;
    [[nodiscard]] bool connected() const { return ready_.load(); }
    [[nodiscard]] std::string producer() const { return producer_name_; }
    [[nodiscard]] Timeout timeout_or_default(Timeout timeout) const;
    /// A connection that ends from now on is not made again.
    void expect_the_end() { ending_.store(true); }

    // ---- for Transactions and LockKeeper, on the I/O thread ----
    [[nodiscard]] std::uint64_t generation() const { return generation_; }
    [[nodiscard]] bool serving() const { return phase_ == Phase::ready; }
    void arm_lock_timer(std::uint64_t ms);
    void arm_call_timer(std::uint64_t ms);
    void arm_service_timer(std::uint64_t ms);
    RequestPtr session_request(wire::Verb verb, std::uint32_t field_count);
    wire::Buffer& control() { return link_->control(); }
    void send(const RequestPtr& request);

private:
    enum class Phase : std::uint8_t { resting, greeting, opening, ready, over };

    // ---- core_loop.cpp ----
    bool make_loop();
    void run();
    void run_loop();
    void turn();
    void open_connection();
    void lost(const std::string& why);
    void schedule_reconnect();
    void give_up(wire::Code code, const std::string& why);
    void close_everything();
    void tick();
    void tell_state(StateChange::State state, wire::Code code, std::string text);
    void tell(PublishPipe::Told& told, const Outcome& outcome);
    void settle_start(Answer<Done> answer);
    void forget_sent_requests(const std::string& why);
    void drop_sessions_of_subscriptions();
    void on_connected() override;
    void on_read_done() override;
    void on_writable() override;
    void on_gone(const std::string& why) override;

    // ---- core_session.cpp ----
    void say_hello();
    void on_challenge(wire::Cursor& cursor);
    void on_hello(const Request& request);
    void open_producer();
    void on_producer(const Request& request);
    void become_ready();
    void redeclare_round();
    void on_redeclared(const std::string& key, const Request& request);
    void send_subscribe_again(const std::shared_ptr<SubscriptionState>& state);
    void end_round_step();
    void end_subscription(const std::shared_ptr<SubscriptionState>& state, wire::Code code,
                          std::string_view text);

    // ---- core_frames.cpp ----
    void on_frame(Bytes body) override;
    void on_answer(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_error(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_confirm(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_refused(const wire::FrameHead& head, wire::Cursor& cursor);
    void refuse(std::uint64_t first, std::uint64_t last, wire::Code code, std::string_view text);
    std::shared_ptr<SubscriptionState> receiver(std::uint64_t id, std::uint64_t last_tag);
    static std::shared_ptr<const wire::Buffer> keep(const SubscriptionState& state,
                                                    wire::Cursor& cursor, Bytes body);
    void on_activated(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_deliver_some(const wire::FrameHead& head, wire::Cursor& cursor, Bytes body);
    void on_deliver(const wire::FrameHead& head, wire::Cursor& cursor, Bytes body);
    void hand_over(SubscriptionState& state, const std::shared_ptr<const wire::Buffer>& kept);
    void on_cancelled(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_reply(wire::Cursor& cursor);
    void on_lock_told(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_blocked(wire::Verb verb, wire::Cursor& cursor);
    void protocol_error(std::string_view what);
    void finish(const RequestPtr& request, Bytes result);
    void fail_request(const RequestPtr& request, ClientError error);
    RequestPtr take_request(std::uint64_t id);

    // ---- core_send.cpp ----
    void send_waiting_requests();
    void send_notes();
    template <class F>
    void send_ranges(SubscriptionState& state, wire::Verb verb, const std::vector<Range>& ranges,
                     F&& extra, std::uint32_t more_fields = 0);
    void read_again_if_possible();

    Random& random_;
    const ClientOptions options_;
    const Url url_;
    const std::shared_ptr<Credentials> credentials_;
    std::string producer_name_;
    PublishPipe pipe_;
    Transactions transactions_;
    LockKeeper locks_;
    Calls calls_;
    ServiceKeeper services_;

    std::thread thread_;
    bool driven_by_caller_ = false;
    std::atomic<std::thread::id> io_thread_{};
    std::atomic<bool> ready_{false};
    std::atomic<bool> ending_{false};
    std::atomic<std::uint64_t> frame_bytes_max_{0};
    std::atomic<std::uint64_t> payload_bytes_max_{0};

    std::mutex wake_mutex_;  // the handle must not be used once the loop is gone
    bool wakeable_ = false;
    bool stop_ = false;

    mutable std::mutex mutex_;
    std::condition_variable started_changed_;
    std::optional<Answer<Done>> started_;
    bool over_ = false;  // nothing is asked any more
    ClientError over_because_;
    std::string last_failure_ = "no answer yet";
    std::unordered_map<std::uint64_t, RequestPtr> requests_;
    std::vector<RequestPtr> unsent_;
    std::unordered_map<std::uint64_t, std::shared_ptr<SubscriptionState>> subscriptions_;
    std::map<std::string, std::uint64_t> pulls_;
    std::vector<std::shared_ptr<SubscriptionState>> with_notes_;
    std::vector<Declared> declared_;
    ServerInfo server_;
    std::string blocked_;  // by what; empty: it is not
    std::uint64_t next_id_ = 0;
    std::uint64_t next_subscription_ = 0;

    // the I/O thread's
    uv_loop_t loop_{};
    uv_async_t async_{};
    uv_timer_t reconnect_timer_{};
    uv_timer_t attempt_timer_{};
    uv_timer_t tick_timer_{};
    uv_timer_t linger_timer_{};
    uv_timer_t retry_timer_{};
    uv_timer_t round_timer_{};
    uv_timer_t lock_timer_{};
    uv_timer_t call_timer_{};
    uv_timer_t service_timer_{};
    std::unique_ptr<Link> link_;
    Phase phase_ = Phase::resting;
    std::uint64_t generation_ = 0;  // of the connection; 0 is never one
    std::uint64_t connected_at_ms_ = 0;
    std::uint32_t failures_ = 0;
    std::uint64_t heartbeat_ms_ = 0;
    std::uint64_t handle_ = 0;  // of the producer, on this connection
    std::uint64_t epoch_ = 0;
    bool epoch_known_ = false;
    bool begun_ = false;  // the pipe has its first mark
    bool rebased_ = false;
    bool ever_ready_ = false;
    bool linger_over_ = false;
    bool holds_back_ = false;  // the broker said that it is blocked
    bool reading_paused_ = false;
    bool turn_comes_ = false;  // turn() will be called without being woken
    wire::Code last_code_ = wire::Code::ok;
    std::uint32_t round_pending_ = 0;
    bool round_again_ = false;
    std::vector<std::string> declared_here_;  // keys that this connection has made again
    std::vector<Delivery> deliveries_;        // reused from frame to frame
};

}  // namespace ferry::transport::native
