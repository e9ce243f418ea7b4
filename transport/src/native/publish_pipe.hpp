#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ferry/transport/message.hpp"
#include "ferry/transport/port.hpp"
#include "native/batch.hpp"
#include "native/ranges.hpp"

namespace ferry::transport::native {

/// The publishing half of a client, without the network: numbers messages, gathers them into
/// batches, keeps them until the broker has answered, and says what must be sent (again) and who is
/// told what.
///
/// A message is *resolved* when it was confirmed or refused for good. Everything at or below
/// settled_ is resolved; resolved ones beyond it (a refusal overtook, or an earlier one waits for a
/// retry) are in `beyond_`. Sequences in here are the client's own; on the wire they are smaller by
/// base_, which moves only when a new epoch had to be taken.
///
/// Threads   Any for enqueue and the waits; the I/O thread for the rest. One lock, never held
/// during a callback.
class PublishPipe {
public:
    struct Limits {
        std::uint32_t batch_messages = 8192;
        std::uint32_t batch_bytes = 256U << 10;
        std::uint32_t window_messages = 65536;
        std::uint64_t window_bytes = 16ULL << 20;
        bool block_when_full = true;
        bool retry_refused = false;
        bool wake_for_full_batches = false;  // with a linger time
    };
    struct Item {
        std::string_view exchange;
        std::string_view routing_key;
        Bytes properties;
        Bytes payload;
        std::uint64_t flags = 0;  // of PUBLISH
    };
    /// What a producer's opening told.
    struct Opening {
        std::uint64_t mark = 0;
        std::size_t frame_bytes_max = 0;
        std::size_t payload_bytes_max = 0;
    };
    /// Who must be told, when the lock is free again.
    struct Told {
        std::vector<Range> ranges;
        std::vector<std::pair<std::uint64_t, ConfirmCallback>> callbacks;
    };

    explicit PublishPipe(const Limits& limits) : limits_(limits) {}

    // ---- applications ----

    /// `wake`: the I/O thread sleeps and must be woken. `may_wait`: false on the I/O thread.
    Result<std::uint64_t> enqueue(const Item& item, ConfirmCallback done, bool may_wait,
                                  bool& wake);
    Result<std::uint64_t> enqueue_many(const Item& common, std::span<const Bytes> payloads,
                                       std::size_t& taken, bool may_wait,
                                       const std::function<void()>& wake);
    Status flush(std::chrono::steady_clock::time_point deadline);
    [[nodiscard]] std::uint64_t unconfirmed() const;
    [[nodiscard]] std::uint64_t last_sequence() const;
    /// Nothing more is taken from now on.
    void stop_taking();

    // ---- the I/O thread ----

    /// First opening ever: sequences go on behind the mark.
    void begin(const Opening& opening);
    /// The broker took more than was ever sent from here: somebody else uses the same name.
    [[nodiscard]] bool used_by_others(std::uint64_t mark) const;
    /// What the broker does not know and must be told with HOLD before anything is sent again:
    /// resolved sequences above its mark, as wire numbers. Empty optional: the broker knows less
    /// than it confirmed, or it would be too many: a new epoch is needed.
    [[nodiscard]] std::optional<std::vector<Range>> holds(std::uint64_t mark) const;
    /// Sequences start again at 1 on the wire.
    void rebase();
    /// The connection is new: everything unresolved is to be sent again, in order. What no longer
    /// fits the broker's limit is told as refused.
    void send_again(const Opening& opening, Told& too_large);
    /// Appends what to send next, with heads written. Takes the open batch too if `open`. False:
    /// nothing was there, and the next enqueue will wake.
    bool take(std::vector<BatchPtr>& out, std::size_t bytes_max, std::uint64_t producer, bool open);
    [[nodiscard]] bool only_open_left() const;
    /// The broker's answer for wire sequences `first` to `last`. False: they were never sent.
    bool resolve(std::uint64_t first, std::uint64_t last, Told& told);
    bool confirm(std::uint64_t first, std::uint64_t last, Told& told);
    /// Whoever had to be told of what is settled has been told: flush() may return.
    void told_all();
    /// Last wire sequence of the frame that began at `first`; 0: there is none.
    [[nodiscard]] std::uint64_t frame_end(std::uint64_t first) const;
    /// Notes a refusal that is to be sent again. False: never sent.
    bool retry_later(std::uint64_t first, std::uint64_t last);
    void send_retries();
    /// Everything unresolved is given up.
    void abandon(Told& told);

private:
    using Lock = std::unique_lock<std::mutex>;

    Result<std::uint64_t> put(Lock& lock, const Item& item, bool may_wait);
    [[nodiscard]] Status check(const Item& item) const;
    [[nodiscard]] bool full() const;
    void open_batch(std::size_t bytes, std::uint64_t flags);
    void close_batch();
    bool local(std::uint64_t& first, std::uint64_t& last) const;
    void settle(std::uint64_t first, std::uint64_t last, Told& told);
    void advance();
    void collect_callbacks(const Range& range, Told& told);
    [[nodiscard]] std::vector<Range> unresolved(std::uint64_t first, std::uint64_t last) const;
    void send_part(const Batch& batch, const Range& wanted, std::vector<Range>& oversize);

    const Limits limits_;
    mutable std::mutex mutex_;
    std::condition_variable room_;
    std::condition_variable told_changed_;
    std::uint32_t waiting_for_room_ = 0;
    std::uint32_t flushing_ = 0;
    bool stopped_ = true;
    std::optional<std::uint64_t> abandoned_from_;  // settled_ at that moment
    bool idle_ = true;                             // the I/O thread saw nothing to send
    bool closed_one_ = false;

    std::uint64_t last_ = 0;  // sequence given last
    std::uint64_t settled_ = 0;
    std::uint64_t told_ = 0;  // settled_ as of the last told_all()
    std::uint64_t sent_ = 0;  // highest sequence ever handed to the network
    std::uint64_t highest_confirmed_ = 0;
    std::uint64_t base_ = 0;
    std::map<std::uint64_t, std::uint64_t> beyond_;  // first -> last, disjoint, all above settled_

    BatchPtr open_;
    std::deque<BatchPtr> kept_;     // closed, not wholly settled, in order
    std::deque<BatchPtr> to_send_;  // closed, not given to the network; parts of kept ones too
    std::vector<BatchPtr> spare_;
    std::vector<Range> retries_;  // own numbers
    std::uint64_t bytes_ = 0;     // of all messages in open_ and kept_
    std::size_t frame_bytes_max_ = 0;
    std::size_t payload_bytes_max_ = 0;
    std::deque<std::pair<std::uint64_t, ConfirmCallback>> callbacks_;
};

}  // namespace ferry::transport::native
