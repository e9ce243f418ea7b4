#include <signal.h>

#include <algorithm>
#include <utility>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "native/core.hpp"
#include "native/invented_name.hpp"

namespace ferry::transport::native {
namespace {

PublishPipe::Limits pipe_limits(const ClientOptions& options) {
    PublishPipe::Limits limits;
    limits.batch_messages = std::clamp(options.batch_messages, 1U, limits::messages_per_frame_max);
    limits.batch_bytes = std::clamp(options.batch_bytes, 4096U, limits::frame_bytes_cap);
    limits.window_messages = std::max(options.window_messages, 1U);
    limits.window_bytes = std::max<std::uint64_t>(options.window_bytes, 1);
    limits.block_when_full = options.block_when_full;
    limits.retry_refused = options.retry_refused;
    limits.wake_for_full_batches = options.linger_ms > 0;
    return limits;
}

void close_handle(uv_handle_t* handle) {
    if (!uv_is_closing(handle)) uv_close(handle, nullptr);
}

}  // namespace

Core::Core(ClientOptions options, Url url, std::shared_ptr<Credentials> credentials, Random& random)
    : random_(random),
      options_(std::move(options)),
      url_(std::move(url)),
      credentials_(std::move(credentials)),
      producer_name_(options_.producer.empty() ? invented_name("tmp-", random) : options_.producer),
      pipe_(pipe_limits(options_)),
      transactions_(*this),
      locks_(*this),
      calls_(*this),
      services_(*this),
      epoch_(options_.epoch),
      epoch_known_(options_.epoch != 0) {}

Core::~Core() {
    stop();
}

Timeout Core::timeout_or_default(Timeout timeout) const {
    return timeout.count() > 0 ? timeout : Timeout{options_.request_timeout_ms};
}

bool Core::make_loop() {
    if (uv_loop_init(&loop_) != 0) return false;
    const int status =
        uv_async_init(&loop_, &async_, [](uv_async_t* h) { static_cast<Core*>(h->data)->turn(); });
    FERRY_ASSERT(status == 0, "a fresh loop takes an async handle");
    async_.data = this;
    for (uv_timer_t* timer :
         {&reconnect_timer_, &attempt_timer_, &tick_timer_, &linger_timer_, &retry_timer_,
          &round_timer_, &lock_timer_, &call_timer_, &service_timer_}) {
        uv_timer_init(&loop_, timer);
        timer->data = this;
    }
    link_ = std::make_unique<Link>(&loop_, *this);
    {
        const std::lock_guard lock(wake_mutex_);
        wakeable_ = true;
    }
    return true;
}

Answer<Done> Core::start() {
    if (!make_loop())
        return ClientError{Errc::io_failed, wire::Code::ok, "an event loop could not be made"};
    thread_ = std::thread([this] { run(); });

    std::unique_lock lock(mutex_);
    const auto enough = std::chrono::milliseconds{options_.connect_timeout_ms + 200};
    if (started_changed_.wait_for(lock, enough, [this] { return started_.has_value(); })) {
        return *started_;
    }
    return ClientError{Errc::unreachable, wire::Code::ok,
                       "no broker at " + url_.text() + ": " + last_failure_};
}

void Core::stop() {
    if (!thread_.joinable()) return;
    FERRY_ASSERT(!on_io_thread(), "a client cannot be closed from one of its own callbacks");
    {
        const std::lock_guard lock(wake_mutex_);
        stop_ = true;
        if (wakeable_) uv_async_send(&async_);
    }
    thread_.join();
}

void Core::begin() {
    const bool made = make_loop();
    FERRY_ASSERT(made, "whoever drives a loop can make one");
    driven_by_caller_ = true;
    io_thread_.store(std::this_thread::get_id());
    open_connection();
}

void Core::end() {
    FERRY_ASSERT(on_io_thread(), "begin() and end() belong to one thread");
    {
        const std::lock_guard lock(wake_mutex_);
        wakeable_ = false;
    }
    close_everything();
    run_loop();
}

void Core::wake() {
    if (on_io_thread() && turn_comes_) return;
    const std::lock_guard lock(wake_mutex_);
    if (wakeable_) uv_async_send(&async_);
}

void Core::run() {
    // A write to a broker that just went away raises SIGPIPE, which would end the application.
    // Blocked here, in the library's own thread, the write fails with EPIPE instead and the
    // application's signal handling stays its own.
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
    io_thread_.store(std::this_thread::get_id());
    open_connection();
    run_loop();
}

void Core::run_loop() {
    Spin spin(options_.spin_us, std::thread::hardware_concurrency());
    bool awake = false;
    while (uv_run(&loop_, awake ? UV_RUN_NOWAIT : UV_RUN_ONCE) != 0) {
        awake = spin.looks_again(link_->take_bytes_read(), system_clock().now().mono.ns);
        if (awake) std::this_thread::yield();
    }
    link_.reset();
    const int status = uv_loop_close(&loop_);
    FERRY_ASSERT(status == 0, "every handle was closed");
    io_thread_.store(std::thread::id{});
}

// Everything that waits to be sent is sent here, once for many calls: that is where batches come
// from.
void Core::turn() {
    turn_comes_ = false;
    {
        std::unique_lock lock(wake_mutex_);
        if (stop_) {
            wakeable_ = false;
            lock.unlock();
            close_everything();
            return;
        }
    }
    if (phase_ == Phase::over) return;
    if (phase_ == Phase::ready) {
        send_notes();
        send_waiting_requests();
        if (!holds_back_) transactions_.pump();
        locks_.pump();
        calls_.pump();
        services_.pump();
        read_again_if_possible();
    }
    const bool publishing = phase_ == Phase::ready && begun_ && !holds_back_;
    const bool more = link_->pump([this, publishing](std::vector<BatchPtr>& out, std::size_t max) {
        const bool open = options_.linger_ms == 0 || linger_over_;
        return publishing && phase_ == Phase::ready && pipe_.take(out, max, handle_, open);
    });
    if (more) uv_async_send(&async_);
    if (options_.linger_ms > 0 && phase_ == Phase::ready) {
        linger_over_ = false;
        if (!uv_is_active(reinterpret_cast<uv_handle_t*>(&linger_timer_)) &&
            pipe_.only_open_left()) {
            uv_timer_start(
                &linger_timer_,
                [](uv_timer_t* timer) {
                    auto* const core = static_cast<Core*>(timer->data);
                    core->linger_over_ = true;
                    core->turn();
                },
                options_.linger_ms, 0);
        }
    }
}

// ---- connections ----

void Core::open_connection() {
    if (phase_ != Phase::resting) return;
    phase_ = Phase::greeting;
    uv_update_time(&loop_);
    uv_timer_start(
        &attempt_timer_,
        [](uv_timer_t* timer) {
            static_cast<Core*>(timer->data)->lost("no connection within the time for it");
        },
        options_.connect_timeout_ms, 0);
    link_->set_frame_bytes_max(limits::frame_bytes_cap);
    link_->connect(url_, credentials_->tls());
}

void Core::on_connected() {
    ++generation_;
    say_hello();
}

void Core::on_read_done() {
    turn();
}
void Core::on_writable() {
    turn();
}
void Core::on_gone(const std::string& why) {
    lost(why);
}

void Core::lost(const std::string& why) {
    if (phase_ == Phase::over || phase_ == Phase::resting) return;
    const bool was_ready = phase_ == Phase::ready;
    phase_ = Phase::resting;
    ready_.store(false);
    turn_comes_ = false;
    link_->drop();
    for (uv_timer_t* timer :
         {&attempt_timer_, &tick_timer_, &linger_timer_, &retry_timer_, &round_timer_}) {
        uv_timer_stop(timer);
    }
    declared_here_.clear();
    holds_back_ = false;
    drop_sessions_of_subscriptions();
    forget_sent_requests(why);
    transactions_.lost();
    locks_.lost();
    calls_.lost(why);
    const wire::Code code = std::exchange(last_code_, wire::Code::ok);
    if (was_ready && uv_now(&loop_) - connected_at_ms_ >= 1000) failures_ = 0;
    if (was_ready) tell_state(StateChange::State::disconnected, code, why);
    if (phase_ == Phase::over) return;
    {
        const std::lock_guard lock(mutex_);
        last_failure_ = why;
        blocked_.clear();
    }
    if (ending_.load() || (!ever_ready_ && !options_.connect_retry)) {
        give_up(code, "no broker at " + url_.text() + ": " + why);
        return;
    }
    schedule_reconnect();
}

void Core::schedule_reconnect() {
    const std::uint32_t doublings = std::min(failures_++, 16U);
    const std::uint64_t longest = std::max<std::uint64_t>(options_.backoff_max_ms, 1);
    const std::uint64_t base =
        std::clamp<std::uint64_t>(std::uint64_t{options_.backoff_min_ms} << doublings, 1, longest);
    // Half of it is chance, so that a thousand clients of one broker do not come back at the same
    // moment.
    const std::uint64_t delay = base / 2 + random_.next() % (base / 2 + 1);
    uv_timer_start(
        &reconnect_timer_,
        [](uv_timer_t* timer) { static_cast<Core*>(timer->data)->open_connection(); }, delay, 0);
}

void Core::tick() {
    const std::uint64_t now = uv_now(&loop_);
    const bool deaf = FERRY_PLANTED("client-half-open-connection-kept");
    if (!deaf && !reading_paused_ && now - link_->last_heard_ms() > 2 * heartbeat_ms_) {
        last_code_ = wire::Code::timed_out;
        lost("the broker was silent for two heartbeats");
        return;
    }
    if (now - link_->last_sent_ms() >= heartbeat_ms_ / 2 && link_->control().empty()) {
        wire::Buffer& out = link_->control();
        const std::size_t mark = wire::begin_frame(out, wire::Verb::heartbeat, 2);
        wire::Encoder(out).uint(0);
        wire::end_frame(out, mark);
        turn();
    }
}

void Core::arm_lock_timer(std::uint64_t ms) {
    if (phase_ == Phase::over) return;
    uv_update_time(&loop_);
    uv_timer_start(
        &lock_timer_, [](uv_timer_t* timer) { static_cast<Core*>(timer->data)->locks_.look(); }, ms,
        0);
}

void Core::arm_service_timer(std::uint64_t ms) {
    if (phase_ == Phase::over) return;
    uv_update_time(&loop_);
    uv_timer_start(
        &service_timer_,
        [](uv_timer_t* timer) {
            auto* const core = static_cast<Core*>(timer->data);
            core->services_.look();
            core->turn();
        },
        ms, 0);
}

void Core::arm_call_timer(std::uint64_t ms) {
    if (phase_ == Phase::over) return;
    uv_update_time(&loop_);
    uv_timer_start(
        &call_timer_, [](uv_timer_t* timer) { static_cast<Core*>(timer->data)->calls_.look(); }, ms,
        0);
}

void Core::drop_sessions_of_subscriptions() {
    std::vector<std::shared_ptr<SubscriptionState>> all;
    {
        const std::lock_guard lock(mutex_);
        for (const auto& [id, state] : subscriptions_) all.push_back(state);
    }
    reading_paused_ = false;
    for (const auto& state : all) {
        bool ends = false;
        {
            const std::lock_guard lock(state->mutex);
            state->generation = 0;
            state->last_tag = 0;
            state->notes = {};
            state->stopped_reading = false;
            // What is unacked comes again. What needs no ack does not: it must not be lost here.
            if (!state->options.no_ack) {
                state->waiting.clear();
                state->waiting_bytes = 0;
            }
            ends = !state->pull && state->established && !state->options.resubscribe;
        }
        if (ends) end_subscription(state, wire::Code::ok, "the connection was lost");
    }
}

void Core::forget_sent_requests(const std::string& why) {
    std::vector<RequestPtr> failed;
    {
        const std::lock_guard lock(mutex_);
        for (auto& [id, request] : requests_) {
            if (request->session) continue;
            if (request->repeatable) {
                request->sent = false;
                unsent_.push_back(request);
            } else {
                failed.push_back(request);
            }
        }
        requests_.clear();
    }
    for (const RequestPtr& request : failed) {
        fail_request(request, ClientError{Errc::indeterminate, wire::Code::ok,
                                          "the connection was lost before the answer: " + why});
    }
}

// ---- the end ----

void Core::give_up(wire::Code code, const std::string& why) {
    if (phase_ == Phase::over) return;
    phase_ = Phase::over;
    ready_.store(false);
    turn_comes_ = false;
    link_->drop();
    for (uv_timer_t* timer :
         {&reconnect_timer_, &attempt_timer_, &tick_timer_, &linger_timer_, &retry_timer_,
          &round_timer_, &lock_timer_, &call_timer_, &service_timer_}) {
        uv_timer_stop(timer);
    }
    ClientError because{code == wire::Code::ok ? Errc::unreachable : errc_of(code), code, why};
    std::vector<RequestPtr> unsent;
    std::vector<std::shared_ptr<SubscriptionState>> ended;
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
        over_because_ = because;
        unsent.swap(unsent_);
        for (const auto& [id, state] : subscriptions_) ended.push_back(state);
    }
    settle_start(because);
    forget_sent_requests(why);
    {
        const std::lock_guard lock(mutex_);
        unsent.insert(unsent.end(), unsent_.begin(), unsent_.end());
        unsent_.clear();
    }
    for (const RequestPtr& request : unsent) fail_request(request, because);
    for (const auto& state : ended) end_subscription(state, code, why);
    transactions_.abandon(because);
    locks_.abandon(because);
    calls_.abandon(because);
    PublishPipe::Told told;
    pipe_.abandon(told);
    tell(told, Outcome{Outcome::Kind::in_doubt, code, why});
    tell_state(StateChange::State::closed, code, why);
}

void Core::close_everything() {
    ending_.store(true);
    give_up(wire::Code::ok, "the client was closed");
    close_handle(reinterpret_cast<uv_handle_t*>(&async_));
    for (uv_timer_t* timer :
         {&reconnect_timer_, &attempt_timer_, &tick_timer_, &linger_timer_, &retry_timer_,
          &round_timer_, &lock_timer_, &call_timer_, &service_timer_}) {
        close_handle(reinterpret_cast<uv_handle_t*>(timer));
    }
}

void Core::settle_start(Answer<Done> answer) {
    const std::lock_guard lock(mutex_);
    if (started_.has_value()) return;
    started_.emplace(std::move(answer));
    started_changed_.notify_all();
}

void Core::tell_state(StateChange::State state, wire::Code code, std::string text) {
    if (options_.on_state) options_.on_state(StateChange{state, code, std::move(text)});
}

void Core::tell(PublishPipe::Told& told, const Outcome& outcome) {
    if (options_.on_confirm) {
        for (const Range& range : told.ranges)
            options_.on_confirm(range.first, range.last, outcome);
    }
    for (auto& [sequence, callback] : told.callbacks) callback(sequence, outcome);
    pipe_.told_all();
}

}  // namespace ferry::transport::native
