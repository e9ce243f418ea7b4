#include "driver.hpp"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "ferry/platform/assert.hpp"
#include "ferry/telemetry/metrics.hpp"
#include "ferry/wire/limits.hpp"
#include "native/frames.hpp"
#include "native/native_session.hpp"
#include "recovery.hpp"

namespace ferry::server {
namespace {

constexpr std::uint64_t tick_ms = 250;
constexpr std::uint64_t ticks_per_second = 1000 / tick_ms;
constexpr std::uint64_t reload_seconds = 2;  // how often files are looked at for changes
constexpr std::uint64_t stalled_ns = 2'000'000'000;
constexpr int rounds_max = 64;  // per turn, so that sockets are looked at again
constexpr std::uint64_t greeting_max = 512;
// Descriptors that sockets never get: for checkpoints, HTTP, backups and a few segments at first,
// and always so many more than the log has open.
constexpr std::uint64_t reserved_files = 64;
constexpr std::uint64_t reserved_files_beside_log = 32;
constexpr std::uint64_t failed_linger_ms = 300;
constexpr unsigned user_timeout_ms_min = 120'000;

template <class Handle>
uv_handle_t* as_handle(Handle& handle) {
    return reinterpret_cast<uv_handle_t*>(&handle);
}

std::uint64_t connections_allowed(const BrokerConfig& config, std::uint64_t log_files) {
    rlimit files{};
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) {
        return config.connections_max;
    }
    const std::uint64_t reserved = std::max(reserved_files, log_files + reserved_files_beside_log);
    const std::uint64_t room = files.rlim_cur > reserved ? files.rlim_cur - reserved : 1;
    return std::min<std::uint64_t>(config.connections_max, room);
}

// Of the machine, or of the container if that has less.
std::uint64_t memory_allowed(const BrokerConfig& config) {
    if (config.memory_bytes_max != 0) return config.memory_bytes_max;
    std::uint64_t there = uv_get_total_memory();
    if (const std::uint64_t ours = uv_get_constrained_memory(); ours != 0)
        there = std::min(there, ours);
    return there / 4 * 3;
}

}  // namespace

Driver::Driver(const Parts& parts, LogLine log_line)
    : Turn({parts.config, parts.clock, parts.engine, parts.effects, parts.log, parts.bodies,
            parts.figures, parts.gate}),
      ConnectionOwner(parts.loop),
      listener_(parts.listener),
      log_line_(std::move(log_line)),
      audit_log_(parts.audit_log),
      sampler_(*this),
      // Never used twice, not even by the next run: generated queue names are made from it.
      next_session_((parts.log.recovered().epoch & 0xffffff) << 40 | 1),
      connections_max_(connections_allowed(parts.config, 0)) {
    figures.started = now().mono;
    memory_max_ = memory_allowed(config);
    if (connections_max_ < config.connections_max) {
        note(LogLevel::warn, "at most " + std::to_string(connections_max_) +
                                 " connections: the limit of open files allows no more");
    }
    start_handles();
}

Driver::~Driver() = default;

void Driver::start_handles() {
    uv_prepare_init(loop, &prepare_);
    uv_check_init(loop, &check_);
    uv_async_init(loop, &progress_,
                  [](uv_async_t* handle) { static_cast<Driver*>(handle->data)->on_progress(); });
    uv_async_init(loop, &posted_,
                  [](uv_async_t* handle) { static_cast<Driver*>(handle->data)->take_posted(); });
    uv_timer_init(loop, &tick_);
    uv_timer_init(loop, &engine_timer_);
    uv_timer_init(loop, &linger_);
    uv_timer_init(loop, &deadline_);
    uv_signal_init(loop, &terminate_);
    uv_signal_init(loop, &interrupt_);
    uv_signal_init(loop, &hangup_);
    for (uv_handle_t* handle :
         {as_handle(prepare_), as_handle(check_), as_handle(progress_), as_handle(posted_),
          as_handle(tick_), as_handle(engine_timer_), as_handle(linger_), as_handle(deadline_),
          as_handle(terminate_), as_handle(interrupt_), as_handle(hangup_)}) {
        handle->data = this;
    }
    // From now on, not from run() on: who reads the ready line may send a signal at once.
    const auto on_signal = [](uv_signal_t* h, int) {
        auto& self = *static_cast<Driver*>(h->data);
        if (self.stage_ == Stage::serving) {
            self.begin_drain();
        } else {
            self.hurry();
        }
    };
    uv_signal_start(&terminate_, on_signal, SIGTERM);
    uv_signal_start(&interrupt_, on_signal, SIGINT);
    uv_signal_start(
        &hangup_, [](uv_signal_t* h, int) { static_cast<Driver*>(h->data)->reload(true); }, SIGHUP);
    // Recovered and listening: the kernel queues whoever connects until the loop turns. The ready
    // line follows at once, and who reads it may ask /health/ready at once.
    stage_ = Stage::serving;
}

ExitReason Driver::run() {
    // Timers and closing handles run outside of poll: what they caused is finished in prepare.
    uv_prepare_start(&prepare_, [](uv_prepare_t* h) { static_cast<Driver*>(h->data)->end_turn(); });
    uv_check_start(&check_, [](uv_check_t* h) { static_cast<Driver*>(h->data)->end_turn(); });
    uv_timer_start(
        &tick_, [](uv_timer_t* h) { static_cast<Driver*>(h->data)->on_tick(); }, tick_ms, tick_ms);
    log.start([this] { uv_async_send(&progress_); });
    go_into_service();
    listener_.accept_with([this] { on_connection(); },
                          [this](int error) {
                              ++figures.connections_refused;
                              if (now().mono.ns - trouble_noted_.ns < 1'000'000'000) return;
                              trouble_noted_ = now().mono;
                              note(LogLevel::warn,
                                   "cannot accept connections: errno " + std::to_string(error));
                          },
                          config.connections_per_second);
    sampler_.on_second();
    run_loop();
    close();
    return stage_ == Stage::failed ? ExitReason::storage_failed : ExitReason::stopped;
}

// As uv_run(UV_RUN_DEFAULT), but awake for a moment after short reads that come quickly.
void Driver::run_loop() {
    Spin spin(config.spin_us, std::thread::hardware_concurrency());
    bool awake = false;
    std::uint64_t read_before = figures.received_bytes;
    while (!left_ && uv_run(loop, awake ? UV_RUN_NOWAIT : UV_RUN_ONCE) != 0) {
        const std::uint64_t read = figures.received_bytes - read_before;
        read_before = figures.received_bytes;
        awake = spin.looks_again(read, uv_hrtime());
        if (awake) std::this_thread::yield();
    }
}

// ---- a turn ----

// A copy of the list: what is done with a session may end connections.
void Driver::for_each_session(const std::function<void(ProtocolSession&)>& with) {
    std::vector<ProtocolSession*> sessions;
    for (auto& entry : connections_) {
        if (entry.second->session() != nullptr) sessions.push_back(entry.second->session());
    }
    for (ProtocolSession* one : sessions) with(*one);
}

void Driver::linger() {
    uv_update_time(loop);
    uv_timer_start(
        &linger_, [](uv_timer_t* handle) { static_cast<Driver*>(handle->data)->lingered(); },
        linger_ms, 0);
}

void Driver::end_turn() {
    if (stage_ == Stage::over) return;
    for (int i = 0; touched_ && i < rounds_max && stage_ != Stage::failed; ++i) round();
    if (touched_) uv_async_send(&posted_);
    if (stage_ != Stage::failed) keeper_.on_turn();
    flush_all();
    for (const engine::SessionId id : resting_) {
        const auto at = connections_.find(id);
        if (at != connections_.end()) at->second->resume(Pause::resting);
    }
    resting_.clear();
    arm_engine_timer();
    if (stage_ == Stage::draining) finish_if_drained();
    now_.reset();
}

void Driver::flush_all() {
    while (!flush_.empty()) {
        flushing_.swap(flush_);
        for (const engine::SessionId id : flushing_) {
            const auto at = connections_.find(id);
            if (at != connections_.end()) at->second->flush();
        }
        flushing_.clear();
    }
}

void Driver::arm_engine_timer() {
    const std::optional<Instant> next = engine.next_timer();
    if (next == engine_timer_at_) return;
    engine_timer_at_ = next;
    if (!next) {
        uv_timer_stop(&engine_timer_);
        return;
    }
    const std::uint64_t current = now().mono.ns;
    const std::uint64_t wait_ns = next->ns > current ? next->ns - current : 0;
    uv_update_time(loop);
    uv_timer_start(
        &engine_timer_,
        [](uv_timer_t* handle) {
            auto& self = *static_cast<Driver*>(handle->data);
            self.engine_timer_at_.reset();
            self.engine.tick(self.now());
            self.touch();
        },
        wait_ns / 1'000'000 + 1, 0);
}

// ---- connections ----

ProtocolSession* Driver::session(engine::SessionId id) {
    const auto at = connections_.find(id);
    return at == connections_.end() ? nullptr : at->second->session();
}

void Driver::on_connection() {
    const engine::SessionId id = next_session_++;
    auto connection = std::make_unique<Connection>(*this, *this, id);
    Connection& taken = *connection;
    if (!taken.accept(listener_.stream()).ok()) {
        connections_.emplace(id, std::move(connection));
        taken.close();
        return;
    }
    const bool too_many = connections_.size() >= connections_max_;
    if (too_many || figures.greeting >= greeting_max || stage_ != Stage::serving) {
        refuse_connection(std::move(connection), too_many ? "limits.connections is reached"
                                                          : "too many connections without hello");
        return;
    }
    ++figures.connections_accepted;
    if (gate.tls() != nullptr) taken.encrypt(gate.tls());
    taken.set_user_timeout(std::max(user_timeout_ms_min, 2 * config.heartbeat_ms));
    connections_.emplace(id, std::move(connection));
    taken.start(std::make_unique<native::NativeSession>(*this, taken, id));
}

// They are told why, and do not linger: whoever comes in thousands gets no place to wait.
void Driver::refuse_connection(std::unique_ptr<Connection> connection, std::string_view text) {
    ++figures.connections_refused;
    Connection& refused = *connection;
    connections_.emplace(refused.id(), std::move(connection));
    const auto code =
        stage_ == Stage::serving ? wire::Code::too_many_connections : wire::Code::shutting_down;
    if (gate.tls() == nullptr) {  // a handshake, to say it, is what there is no place for
        native::write_error(refused.out(), 0, code, text);
        refused.flush();
    }
    refused.close();
}

void Driver::closed(engine::SessionId id) {
    connections_.erase(id);
    if (stage_ == Stage::draining) finish_if_drained();
    if (stage_ == Stage::failed && connections_.empty()) stop_loop();
}

// ---- events ----

void Driver::on_progress() {
    if (stage_ == Stage::failed || stage_ == Stage::over) return;
    if (log.failed()) {
        storage_failed();
        return;
    }
    log_moved();
    sampler_.on_progress();
    unblock();
}

void Driver::unblock() {
    if (behind_.empty() || log.pending_bytes() > config.pending_bytes_max / 2) return;
    std::vector<engine::SessionId> waiting;
    waiting.swap(behind_);
    for (const engine::SessionId id : waiting) {
        const auto at = connections_.find(id);
        if (at != connections_.end()) at->second->resume(Pause::behind);
    }
}

void Driver::on_tick() {
    const Instant current = now().mono;
    const bool stalled = last_tick_.ns != 0 && current.ns - last_tick_.ns > stalled_ns;
    last_tick_ = current;
    // After a stall of our own what peers sent has not been looked at yet: nobody is silent.
    if (!stalled) {
        for (auto& entry : connections_) entry.second->on_tick(now());
    }
    if (stage_ == Stage::failed) return;
    if (registry.expire(now().mono)) touch();
    look_at_memory();
    keeper_.on_tick();
    if (++ticks_ % ticks_per_second != 0) return;
    engine.tick(now());
    touch();
    unblock();
    figures.publishers_blocked = behind_.size();
    if (audit_log_ != nullptr) figures.audit_dropped = audit_log_->dropped();
    sampler_.on_second();
    keeper_.on_second();
    if (ticks_ % (reload_seconds * ticks_per_second) == 0) reload(false);
    const log::Stats stats = log.stats();
    connections_max_ = connections_allowed(config, stats.segments + stats.spares);
    if (stats.damaged_ranges != damage_noted_) note_damage();
}

// What is resident counts, whoever holds it: it is what the system ends processes for.
void Driver::look_at_memory() {
    std::size_t resident = 0;
    if (uv_resident_set_memory(&resident) != 0) return;
    // A tenth below: it does not come and go with every message.
    const std::uint64_t low = memory_max_ - memory_max_ / 10;
    const bool is_short = resident > (memory_short_ ? low : memory_max_);
    // What is free goes back, or it would never end. Not too often: it takes the loop's time.
    if (is_short && ticks_ % ticks_per_second == 0) malloc_trim(0);
    if (is_short == memory_short_) return;
    note(is_short ? LogLevel::error : LogLevel::info,
         is_short ? "memory is short (limits.memory): publishers wait until " +
                        std::to_string(low >> 20) + " MiB are left of " +
                        std::to_string(resident >> 20) + " MiB"
                  : "there is memory again: publishers go on");
    set_memory_short(is_short);
}

void Driver::note_damage() {
    const std::vector<log::DamagedRange> damage = log.damage();
    for (; damage_noted_ < damage.size(); ++damage_noted_) {
        const log::DamagedRange& one = damage[damage_noted_];
        note(LogLevel::error, "damage in " + one.file + ": positions " + std::to_string(one.first) +
                                  " to " + std::to_string(one.end - 1) +
                                  " are not what was written; messages there cannot be delivered. "
                                  "See \"Damaged log\" in docs/operations.md");
    }
}

void Driver::backup(std::string target,
                    std::function<void(Result<log::CommitLog::BackupResult>)> done) {
    log.backup(std::move(target),
               [this, done = std::move(done)](Result<log::CommitLog::BackupResult> result) {
                   {
                       const std::lock_guard lock(mutex_);
                       posts_.emplace_back([done, result] { done(result); });
                   }
                   uv_async_send(&posted_);
               });
}

void Driver::take_posted() {
    std::vector<std::function<void()>> posts;
    bool stop_now = false;
    {
        const std::lock_guard lock(mutex_);
        posts.swap(posts_);
        std::swap(stop_now, stop_asked_);
    }
    for (const std::function<void()>& post : posts) post();
    if (stop_now && stage_ == Stage::serving) begin_drain();
}

void Driver::note(LogLevel level, std::string_view line) {
    if (log_line_) log_line_(level, line);
}

void Driver::audit(const AuditEvent& event) {
    if (audit_log_ != nullptr) {
        audit_log_->write(audit_line(event, now().wall_ms));
    } else if (event.result == "denied" || event.result == "failed") {
        note(LogLevel::warn, "audit " + audit_line(event, now().wall_ms));
    }
}

void Driver::in_background(std::function<void()> work, std::function<void()> done) {
    struct Job {
        uv_work_t request{};
        std::function<void()> work;
        std::function<void()> done;
    };
    auto* const job = new Job{{}, std::move(work), std::move(done)};
    job->request.data = job;
    const int status = uv_queue_work(
        loop, &job->request, [](uv_work_t* w) { static_cast<Job*>(w->data)->work(); },
        [](uv_work_t* w, int) {
            const std::unique_ptr<Job> own(static_cast<Job*>(w->data));
            own->done();
        });
    FERRY_ASSERT(status == 0, "libuv refuses work only without a callback");
}

void Driver::reload(bool even_if_unchanged) {
    if (stage_ != Stage::serving) return;
    if (even_if_unchanged && audit_log_ != nullptr) audit_log_->reopen();
    const bool changed =
        gate.reload(even_if_unchanged, [this](LogLevel level, const std::string& text) {
            note(level, text);
            audit({.user = {},
                   .from = {},
                   .action = "reload",
                   .result = level == LogLevel::error ? "failed" : "ok",
                   .detail = text});
        });
    if (!changed) return;
    for_each_session([](ProtocolSession& one) { one.on_users_changed(); });
}

// ---- the end ----

void Driver::stop() {
    {
        const std::lock_guard lock(mutex_);
        stop_asked_ = true;
    }
    uv_async_send(&posted_);
}

bool Driver::ready(std::string* reason) const {
    const char* why = nullptr;
    switch (stage_.load()) {
        case Stage::starting:
            why = "starting";
            break;
        case Stage::serving:
            return true;
        case Stage::draining:
        case Stage::ending:
        case Stage::over:
            why = "stopping";
            break;
        case Stage::failed:
            why = "storage failed";
            break;
    }
    if (reason != nullptr) *reason = why;
    return false;
}

void Driver::begin_drain() {
    note(LogLevel::info, "stopping: finishing what is under way");
    stage_ = Stage::draining;
    listener_.close();
    for_each_session([](ProtocolSession& one) { one.drain(); });
    uv_update_time(loop);
    uv_timer_start(
        &deadline_, [](uv_timer_t* h) { static_cast<Driver*>(h->data)->hurry(); }, config.drain_ms,
        0);
    touch();
}

void Driver::hurry() {
    if (stage_ != Stage::draining) return;
    for (auto& entry : connections_) entry.second->close();
}

void Driver::finish_if_drained() {
    if (!connections_.empty()) return;
    stage_ = Stage::ending;
    end();
}

// Every delivery returns, so that the checkpoint can say that nobody holds anything.
void Driver::end() {
    engine.return_all(now());
    engine.dispatch(now());
    log.submit();
    effects_.clear();
    keeper_.checkpoint_clean();
    log.close();
    if (log.failed()) {
        storage_failed();
        return;
    }
    stop_loop();
}

void Driver::storage_failed() {
    stage_ = Stage::failed;
    note(LogLevel::error, "the disk failed, stopping at once: " + describe(log.failure()));
    listener_.close();
    for_each_session([](ProtocolSession& one) { one.abandon(); });
    flush_all();
    sampler_.on_second();
    if (connections_.empty()) {
        stop_loop();
        return;
    }
    uv_timer_start(
        &deadline_, [](uv_timer_t* h) { static_cast<Driver*>(h->data)->stop_loop(); },
        failed_linger_ms, 0);
}

void Driver::stop_loop() {
    if (stage_ != Stage::failed) stage_ = Stage::over;
    left_ = true;
    uv_stop(loop);
}

void Driver::close() {
    listener_.close();
    for (auto& entry : connections_) entry.second->close();
    for (uv_handle_t* handle :
         {as_handle(prepare_), as_handle(check_), as_handle(progress_), as_handle(posted_),
          as_handle(tick_), as_handle(engine_timer_), as_handle(linger_), as_handle(deadline_),
          as_handle(terminate_), as_handle(interrupt_), as_handle(hangup_)}) {
        if (uv_is_closing(handle) == 0) uv_close(handle, nullptr);
    }
    uv_run(loop, UV_RUN_DEFAULT);
}

}  // namespace ferry::server
