#pragma once

#include <uv.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "ferry/transport/sequenced.hpp"
#include "ferry/transport/url.hpp"
#include "ferry/wire/frame.hpp"
#include "native/credentials.hpp"
#include "native/link.hpp"

namespace ferry::transport::native {

/// The native protocol for SequencedPublisher. The caller's thread encodes messages into batches;
/// the I/O thread writes them and reads the answers.
///
///            open()            hello ok              producer ok
///   resting ───────► greeting ─────────► opening ──────────────► ready
///      ▲                │                   │                      │
///      └────────────────┴── fail() ─────────┴──────────────────────┘
///
/// Threads   As SequencedPublisher. `mutex_` guards what both sides touch; it is never held during
///           an event or an uv call.
class SequencedCore final : public SequencedPublisher, public Link::Owner {
public:
    SequencedCore(SequencedOptions options, Url url, std::shared_ptr<Credentials> credentials,
                  SequencedEvents& events);
    ~SequencedCore() override;
    SequencedCore(const SequencedCore&) = delete;
    SequencedCore& operator=(const SequencedCore&) = delete;

    /// Starts the thread.
    Answer<Done> start();

    Answer<ProducerState> open(std::string_view producer, std::uint64_t epoch) override;
    Status publish(std::uint64_t sequence, const SequencedMessage& message) override;
    Status hold(SequenceRange sequences) override;
    void settled(std::uint64_t upto) override { settled_ = upto; }
    void flush() override;
    [[nodiscard]] std::uint64_t unanswered() const override;
    void close() override;

private:
    enum class Phase : std::uint8_t { resting, greeting, opening, ready };
    /// A PUBLISH frame that was handed over.
    struct Sent {
        std::uint64_t last = 0;
        std::uint64_t remaining = 0;  // messages without an answer
        std::uint64_t bytes = 0;
    };

    // ---- the caller's thread ----
    void close_batch();
    BatchPtr make_batch(std::size_t bytes);
    void give_back(Batch* batch);
    void wake();

    // ---- the I/O thread ----
    void run();
    void turn();
    void connect_anew();
    void fail(ClientError why);
    void answer_open(Answer<ProducerState> answer);
    void tick();
    void end();
    void ask(wire::Verb verb, std::uint32_t field_count, const wire::Buffer& fields);
    void say_hello();
    void on_challenge(wire::Cursor& cursor);
    void on_hello(wire::Cursor& cursor);
    void on_producer(wire::Cursor& cursor);
    void on_confirm(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_refused(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_error(const wire::FrameHead& head, wire::Cursor& cursor);
    bool take_answer(std::uint64_t first, std::uint64_t last);
    void protocol_error(std::string_view what);
    void on_connected() override { say_hello(); }
    void on_frame(Bytes body) override;
    void on_read_done() override { turn(); }
    void on_writable() override { turn(); }
    void on_gone(const std::string& why) override;

    const SequencedOptions options_;
    const Url url_;
    const std::shared_ptr<Credentials> credentials_;
    SequencedEvents& events_;

    // the caller's
    BatchPtr gathering_;
    std::uint64_t settled_ = 0;
    std::uint64_t next_hold_ = 0;

    std::mutex wake_mutex_;  // the handle must not be used once the loop is gone
    bool wakeable_ = false;

    mutable std::mutex mutex_;
    std::condition_variable answered_;
    std::optional<Answer<ProducerState>> answer_;
    bool want_open_ = false;
    bool closed_ = false;
    bool ready_ = false;
    std::string producer_;
    std::uint64_t epoch_ = 0;
    std::uint64_t handle_ = 0;
    std::uint64_t frame_bytes_max_ = 0;
    std::uint64_t payload_bytes_max_ = 0;
    std::deque<BatchPtr> to_send_;
    std::map<std::uint64_t, Sent> sent_;  // by first sequence
    std::uint64_t unanswered_ = 0;
    std::uint64_t unanswered_bytes_ = 0;

    std::mutex pool_mutex_;
    std::vector<std::unique_ptr<Batch>> pool_;
    bool pool_open_ = true;

    // the I/O thread's
    std::thread thread_;
    uv_loop_t loop_{};
    uv_async_t async_{};
    uv_timer_t attempt_timer_{};
    uv_timer_t tick_timer_{};
    std::unique_ptr<Link> link_;
    Phase phase_ = Phase::resting;
    bool over_ = false;
    std::uint64_t heartbeat_ms_ = 0;
};

}  // namespace ferry::transport::native
