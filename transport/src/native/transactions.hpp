#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
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
        std::vector<Range> acks;
        std::vector<Range> rejects;
    };
    wire::Buffer messages;
    std::uint32_t count = 0;
    std::map<std::uint64_t, Part> parts;  // by subscription
    std::size_t ranges = 0;
    std::uint64_t generation = 0;  // of the connection of its deliveries; 0: it has none
    bool mandatory = true;
    CommitCallback done;

    [[nodiscard]] std::size_t bytes() const { return messages.size() + ranges * 20 + 64; }
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
    /// Takes `state` if the result is ok.
    Status submit(Ptr& state, bool may_wait);
    Status wait_idle(std::chrono::steady_clock::time_point deadline);

    /// Sends what waits; opens the producer before.
    void pump();
    /// The connection is gone.
    void lost();
    /// Nothing will be sent any more. `because`: told of what was never sent.
    void abandon(const ClientError& because);

private:
    enum class Phase : std::uint8_t { closed, opening, open };

    void open_producer();
    void on_producer(const Request& answered);
    void look_up(std::uint64_t mark, const std::vector<Range>& open);
    void hold(std::uint64_t mark);
    void on_held(bool failed);
    void send(Ptr state);
    void on_answer(std::uint64_t sequence, const Request& answered);
    void tell(Ptr state, const Answer<Committed>& outcome);
    [[nodiscard]] std::vector<Ptr> take_waiting();

    Core& core_;
    const std::string producer_;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Ptr> waiting_;
    std::size_t count_ = 0;  // waiting and under way
    std::size_t bytes_ = 0;
    bool over_ = false;
    ClientError because_;

    // the I/O thread's
    Phase phase_ = Phase::closed;
    std::uint64_t handle_ = 0;
    std::uint64_t last_ = 0;                  // sequence given last
    std::map<std::uint64_t, Ptr> under_way_;  // by sequence
};

}  // namespace ferry::transport::native
