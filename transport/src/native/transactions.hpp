#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "ferry/transport/transaction.hpp"
#include "ferry/wire/encoder.hpp"
#include "native/ranges.hpp"

namespace ferry::transport::native {

class Core;
struct Request;

/// What a transaction consists of.
struct TransactionState {
    struct Part {
        std::uint64_t subscription = 0;
        std::vector<Range> acks;
        std::vector<Range> rejects;
    };
    wire::Buffer messages;
    std::uint32_t count = 0;
    std::size_t ranges = 0;
    std::uint64_t generation = 0;  // of the connection of its deliveries; 0: it has none
    bool mandatory = true;
    CommitCallback done;

    [[nodiscard]] std::size_t bytes() const { return messages.size() + ranges * 20 + 64; }
    [[nodiscard]] bool empty() const { return count == 0 && parts_used_ == 0; }
    [[nodiscard]] std::span<const Part> parts() const {
        return std::span(parts_).first(parts_used_);
    }
    /// Null: the transaction settles nothing of it.
    [[nodiscard]] Part* part_of(std::uint64_t subscription);
    Part& add_part(std::uint64_t subscription);
    /// In parts of the protocol: what is acked and what is rejected.
    [[nodiscard]] std::uint32_t wire_parts() const;
    /// As new, but with its memory.
    void clear();

private:
    std::vector<Part> parts_;
    std::size_t parts_used_ = 0;  // the others are kept for their memory
};

/// The transactions of a client: gives each a sequence of a producer of their own, sends them, and
/// finds out after a lost connection what became of those that were under way.
///
/// The producer is temporary and nobody else's, so what the broker knows of its sequences is about
/// this client's transactions: taken means committed. What it does not know is declared with HOLD,
/// after which the broker never takes it, also not from what the old connection may still bring.
///
/// Threads   submit() and wait_idle(): any. The rest: the I/O thread.
class Transactions {
public:
    explicit Transactions(Core& core);

    using Ptr = std::unique_ptr<TransactionState>;
    /// An empty one, with the memory of one that is over if there is any.
    [[nodiscard]] Ptr fresh();
    /// Takes `state` if the result is ok. `wakes`: the I/O thread has to be told of it.
    Status submit(Ptr& state, bool may_wait, bool& wakes);
    Status wait_idle(std::chrono::steady_clock::time_point deadline);

    /// Sends what waits; opens the producer before.
    void pump();
    /// The connection is gone.
    void lost();
    /// Whether this is the number of the producer on this connection.
    [[nodiscard]] bool owns(std::uint64_t handle) const { return handle != 0 && handle == handle_; }
    /// What the broker says of sequences first to last. False: it was not asked.
    bool on_confirm(std::uint64_t first, std::uint64_t last, bool duplicate);
    bool on_refused(std::uint64_t first, std::uint64_t last, const ClientError& why);
    /// Nothing will be sent any more. `because`: told of what was never sent.
    void abandon(const ClientError& because);

private:
    enum class Phase : std::uint8_t { closed, opening, open };

    void open_producer();
    void on_producer(const Request& answered);
    void look_up(std::uint64_t mark, const std::vector<Range>& open);
    void hold(std::uint64_t mark);
    void on_held(bool failed);
    void send(std::vector<Ptr>& states);
    void send_frame(std::span<Ptr> states);
    bool take(std::uint64_t first, std::uint64_t last);
    std::deque<Ptr> take_under_way();
    void tell(const Answer<Committed>& outcome);
    void tell(Ptr state, const Answer<Committed>& outcome);
    bool take_more();
    [[nodiscard]] std::deque<Ptr> take_waiting();

    Core& core_;
    const std::string producer_;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Ptr> waiting_;
    std::vector<Ptr> spare_;
    std::size_t count_ = 0;  // waiting and under way
    std::size_t bytes_ = 0;
    bool over_ = false;
    ClientError because_;

    // the I/O thread's
    Phase phase_ = Phase::closed;
    std::uint64_t handle_ = 0;
    std::uint64_t last_ = 0;       // sequence given last
    std::deque<Ptr> under_way_;    // the last of them has sequence `last_`; null: it is over
    std::size_t sent_bytes_ = 0;   // of them
    std::deque<Ptr> taken_;        // from waiting_, not sent yet
    bool held_back_ = false;       // some of them wait for room in under_way_
    std::vector<Ptr> over_now_;    // to be told
    std::vector<Ptr> being_sent_;  // reused
};

}  // namespace ferry::transport::native
