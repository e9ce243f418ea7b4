#include "native/sequenced.hpp"

#include <signal.h>

#include <algorithm>
#include <chrono>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/verbs.hpp"

// The caller's half, and the life of the I/O thread.
namespace ferry::transport::native {
namespace {

constexpr std::size_t pooled_batches_max = 16;
constexpr std::size_t small_batch_bytes = 1024;  // for frames that carry no message
constexpr std::uint64_t request_bit = 1ULL << 63;

Status rejected(std::string_view what) {
    return Error{Errc::rejected, 0, 0, what};
}

}  // namespace

SequencedCore::SequencedCore(SequencedOptions options, Url url,
                             std::shared_ptr<Credentials> credentials, SequencedEvents& events)
    : options_(std::move(options)),
      url_(std::move(url)),
      credentials_(std::move(credentials)),
      events_(events) {}

SequencedCore::~SequencedCore() {
    close();
    if (thread_.joinable()) thread_.join();
    gathering_.reset();
    to_send_.clear();
    const std::lock_guard lock(pool_mutex_);
    pool_open_ = false;
}

Answer<Done> SequencedCore::start() {
    if (uv_loop_init(&loop_) != 0) {
        return ClientError{Errc::io_failed, wire::Code::ok, "an event loop could not be made"};
    }
    const int status = uv_async_init(
        &loop_, &async_, [](uv_async_t* h) { static_cast<SequencedCore*>(h->data)->turn(); });
    FERRY_ASSERT(status == 0, "a fresh loop takes an async handle");
    async_.data = this;
    for (uv_timer_t* timer : {&attempt_timer_, &tick_timer_}) {
        uv_timer_init(&loop_, timer);
        timer->data = this;
    }
    link_ = std::make_unique<Link>(&loop_, *this);
    wakeable_ = true;
    thread_ = std::thread([this] { run(); });
    return Done{};
}

// ---- the caller's thread ----

Answer<ProducerState> SequencedCore::open(std::string_view producer, std::uint64_t epoch) {
    gathering_.reset();
    settled_ = 0;
    std::unique_lock lock(mutex_);
    answer_.reset();
    producer_ = producer;
    epoch_ = epoch;
    ready_ = false;
    want_open_ = !closed_;
    to_send_.clear();
    if (want_open_) {
        lock.unlock();
        wake();
        lock.lock();
        answered_.wait(lock, [this] { return answer_.has_value() || closed_; });
    }
    if (answer_.has_value()) return *answer_;
    return ClientError{Errc::unreachable, wire::Code::ok, "the publisher was closed"};
}

Status SequencedCore::publish(std::uint64_t sequence, const SequencedMessage& message) {
    if (message.exchange.size() > limits::name_bytes_max ||
        message.routing_key.size() > limits::routing_key_bytes_max) {
        return rejected("the exchange or the routing key is longer than 255 bytes");
    }
    const std::size_t bytes = encoded_bytes_max(message.exchange, message.routing_key,
                                                message.properties, message.payload);
    const std::uint64_t flags =
        wire::publish_in_order | (message.mandatory ? wire::publish_mandatory : 0);
    std::size_t room = 0;
    {
        const std::lock_guard lock(mutex_);
        if (!ready_) return Error{Errc::unreachable, 0, 0, "no producer is open"};
        if (message.payload.size() > payload_bytes_max_) {
            return rejected("the payload is larger than the broker takes");
        }
        room = frame_bytes_max_ + limits::frame_length_bytes - Batch::head_bytes;
        if (bytes > room) return rejected("the message is larger than the broker's frame limit");
        const std::uint64_t gathered = gathering_ ? gathering_->count() : 0;
        if (unanswered_ + gathered >= options_.window_messages ||
            unanswered_bytes_ + bytes > options_.window_bytes + room) {
            return Error{Errc::would_block, 0, 0, "the window of unanswered messages is full"};
        }
    }
    if (gathering_ &&
        (!gathering_->has_room(bytes) || sequence != gathering_->last() + 1 ||
         gathering_->count() >= options_.batch_messages || gathering_->flags() != flags)) {
        close_batch();
    }
    if (!gathering_) {
        const std::size_t usual = std::min<std::size_t>(options_.batch_bytes, room);
        gathering_ = make_batch(std::max(usual, bytes));
        gathering_->reuse(sequence, flags);
    }
    gathering_->append(message.exchange, message.routing_key, message.properties, message.payload);
    return ok_status();
}

Status SequencedCore::hold(SequenceRange sequences) {
    FERRY_ASSERT(sequences.first != 0 && sequences.first <= sequences.last, "a range has a first");
    if (gathering_) close_batch();
    wire::Buffer frame;
    const std::size_t mark = wire::begin_frame(frame, wire::Verb::hold, 4);
    wire::Encoder out(frame);
    out.uint(request_bit | ++next_hold_);
    BatchPtr batch = make_batch(small_batch_bytes);
    const std::lock_guard lock(mutex_);
    if (!ready_) return Error{Errc::unreachable, 0, 0, "no producer is open"};
    out.uint(handle_).array(2).uint(sequences.first).uint(sequences.last);
    wire::end_frame(frame, mark);
    batch->make_raw(frame);
    to_send_.push_back(std::move(batch));
    return ok_status();
}

void SequencedCore::flush() {
    if (gathering_) close_batch();
    {
        const std::lock_guard lock(mutex_);
        if (to_send_.empty()) return;
    }
    wake();
}

void SequencedCore::close_batch() {
    BatchPtr batch = std::move(gathering_);
    gathering_.reset();
    bool begun = false;
    {
        const std::lock_guard lock(mutex_);
        if (!ready_) return;
        batch->write_head(batch->first(), handle_, settled_);
        sent_[batch->first()] = Sent{batch->last(), batch->count(), batch->message_bytes()};
        unanswered_ += batch->count();
        unanswered_bytes_ += batch->message_bytes();
        begun = to_send_.empty();
        to_send_.push_back(std::move(batch));
    }
    if (begun) wake();
}

std::uint64_t SequencedCore::unanswered() const {
    const std::lock_guard lock(mutex_);
    return unanswered_ + (gathering_ ? gathering_->count() : 0);
}

void SequencedCore::close() {
    {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        ready_ = false;
        answered_.notify_all();
    }
    wake();
}

// ---- buffers ----

BatchPtr SequencedCore::make_batch(std::size_t bytes) {
    if (bytes == small_batch_bytes) return std::make_shared<Batch>(bytes);
    std::unique_ptr<Batch> batch;
    {
        const std::lock_guard lock(pool_mutex_);
        if (!pool_.empty() && pool_.back()->capacity() >= bytes) {
            batch = std::move(pool_.back());
            pool_.pop_back();
        }
    }
    if (!batch) batch = std::make_unique<Batch>(bytes);
    return BatchPtr(batch.release(), [this](Batch* done) { give_back(done); });
}

void SequencedCore::give_back(Batch* batch) {
    std::unique_ptr<Batch> owned(batch);
    const std::lock_guard lock(pool_mutex_);
    if (pool_open_ && pool_.size() < pooled_batches_max &&
        owned->capacity() <= options_.batch_bytes) {
        pool_.push_back(std::move(owned));
    }
}

// ---- the I/O thread ----

void SequencedCore::wake() {
    const std::lock_guard lock(wake_mutex_);
    if (wakeable_) uv_async_send(&async_);
}

void SequencedCore::run() {
    // As in Core: a write to a broker that is gone must not end the application.
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    link_.reset();
    const int status = uv_loop_close(&loop_);
    FERRY_ASSERT(status == 0, "every handle was closed");
}

void SequencedCore::turn() {
    bool open = false;
    bool stop = false;
    {
        const std::lock_guard lock(mutex_);
        open = want_open_;
        want_open_ = false;
        stop = closed_;
    }
    if (over_) return;
    if (stop) return end();
    if (open) connect_anew();
    if (phase_ == Phase::resting) return;
    const bool more = link_->pump([this](std::vector<BatchPtr>& out, std::size_t bytes_max) {
        const std::lock_guard lock(mutex_);
        std::size_t bytes = 0;
        while (ready_ && !to_send_.empty() && bytes < bytes_max) {
            bytes += to_send_.front()->frame().size();
            out.push_back(std::move(to_send_.front()));
            to_send_.pop_front();
        }
        return bytes != 0;
    });
    if (more) uv_async_send(&async_);
}

void SequencedCore::connect_anew() {
    link_->drop();
    uv_timer_stop(&tick_timer_);
    {
        const std::lock_guard lock(mutex_);
        to_send_.clear();
        sent_.clear();
        unanswered_ = 0;
        unanswered_bytes_ = 0;
    }
    phase_ = Phase::greeting;
    uv_update_time(&loop_);
    uv_timer_start(
        &attempt_timer_,
        [](uv_timer_t* timer) {
            static_cast<SequencedCore*>(timer->data)
                ->fail(ClientError{Errc::unreachable, wire::Code::ok,
                                   "no connection within the time for it"});
        },
        options_.connect_timeout_ms, 0);
    link_->set_frame_bytes_max(limits::frame_bytes_cap);
    link_->connect(url_, credentials_->tls());
}

void SequencedCore::fail(ClientError why) {
    if (phase_ == Phase::resting) return;
    const bool was_ready = phase_ == Phase::ready;
    phase_ = Phase::resting;
    link_->drop();
    uv_timer_stop(&attempt_timer_);
    uv_timer_stop(&tick_timer_);
    bool superseded = false;
    {
        const std::lock_guard lock(mutex_);
        ready_ = false;
        to_send_.clear();
        sent_.clear();
        unanswered_ = 0;
        unanswered_bytes_ = 0;
        superseded = want_open_;
    }
    if (!was_ready) {
        if (!superseded) {
            why.text = "no producer at " + url_.text() + ": " + why.text;
            answer_open(std::move(why));
        }
    } else if (!superseded) {
        events_.on_lost(why);
    }
}

void SequencedCore::answer_open(Answer<ProducerState> answer) {
    const std::lock_guard lock(mutex_);
    if (want_open_) return;  // another one was asked for meanwhile
    answer_.emplace(std::move(answer));
    answered_.notify_all();
}

void SequencedCore::tick() {
    const std::uint64_t now = uv_now(&loop_);
    if (now - link_->last_heard_ms() > 2 * heartbeat_ms_) {
        fail(ClientError{Errc::unreachable, wire::Code::timed_out,
                         "the broker was silent for two heartbeats"});
        return;
    }
    if (now - link_->last_sent_ms() < heartbeat_ms_ / 2 || !link_->control().empty()) return;
    wire::Buffer& out = link_->control();
    const std::size_t mark = wire::begin_frame(out, wire::Verb::heartbeat, 2);
    wire::Encoder(out).uint(0);
    wire::end_frame(out, mark);
    turn();
}

void SequencedCore::end() {
    over_ = true;
    {
        const std::lock_guard lock(wake_mutex_);
        wakeable_ = false;
    }
    phase_ = Phase::resting;
    link_->drop();
    uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
    for (uv_timer_t* timer : {&attempt_timer_, &tick_timer_}) {
        uv_close(reinterpret_cast<uv_handle_t*>(timer), nullptr);
    }
}

}  // namespace ferry::transport::native

namespace ferry::transport {

Answer<std::unique_ptr<SequencedPublisher>> make_sequenced_publisher(SequencedOptions options,
                                                                     SequencedEvents& events) {
    const auto url = parse_url(options.url);
    if (!url.ok()) {
        // What is before an @ may be a password.
        const std::string shown = options.url.find('@') == std::string::npos ? options.url : "URL";
        return ClientError{url.error().code, wire::Code::ok,
                           shown + ": " + std::string(url.error().what)};
    }
    options.batch_messages = std::clamp(options.batch_messages, 1U, limits::messages_per_frame_max);
    options.batch_bytes = std::clamp(options.batch_bytes, 4096U, limits::frame_bytes_cap);
    options.window_messages = std::max(options.window_messages, 1U);
    auto credentials = native::Credentials::make(options.security, url.value());
    if (!credentials.ok()) return credentials.error();
    auto core = std::make_unique<native::SequencedCore>(std::move(options), url.value(),
                                                        credentials.value(), events);
    const auto started = core->start();
    if (!started.ok()) return started.error();
    return std::unique_ptr<SequencedPublisher>(std::move(core));
}

}  // namespace ferry::transport
