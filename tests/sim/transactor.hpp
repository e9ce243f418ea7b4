#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "consumer.hpp"

namespace ferry::simulation {

/// Which result comes of which message: the same, whoever makes it and how often.
using Results = std::map<std::uint64_t, Note>;

/// A transaction that was sent: its parts, and what became of it.
struct Exchange {
    std::uint64_t group = 0;
    std::uint64_t seq = 0;
    std::uint64_t request = 0;
    std::vector<std::uint64_t> tags;      // settled in it
    std::vector<history::Event> settles;  // what they are in the notes
    std::vector<Note> results, fresh;     // published in it
    enum class Fate : std::uint8_t {
        unknown,
        done,
        refused
    } told = Fate::unknown;  // by the broker
    bool noted = false;
};

/// Notes every part, as it was asked for or as it ended.
void note_parts(Recorder& recorder, const World& world, std::uint32_t process,
                const Exchange& exchange, history::Type type);
/// What comes of the message `id`.
[[nodiscard]] const Note& result_of(Stage& stage, Results& results, std::uint64_t id);
/// A message that comes of nothing, for any queue.
[[nodiscard]] Note fresh_message(Stage& stage);

/// Takes messages, and publishes what comes of them in the transaction that acks them; publishes
/// messages of its own beside. Each result has to be there once. When it does not hear how a
/// transaction ended it asks, and what it is told has to stay true.
class Transactor final : public Consumer {
public:
    Transactor(Stage& stage, std::uint32_t process, std::uint32_t queue, Results& results);

    /// It knows how all that it began has ended.
    [[nodiscard]] bool at_rest() const { return pending_ == nullptr && waiting_.empty(); }

private:
    class TransactionTap;

    void handle(const Received& message) override;
    void set_up() override;
    void on_answer(const wire::FrameHead& head, wire::Cursor& cursor) override;
    void on_ready() override { plan(); }
    void on_lost() override;
    void on_killed() override;
    std::shared_ptr<DeliverTap> make_deliver_tap() override;

    void open_producer();
    void opened(wire::Cursor& cursor);
    void plan(std::uint64_t least_ns = 0);
    void commit();
    void fill(Exchange& exchange);
    void send(const Exchange& exchange);
    void ended(bool done);
    void note(const std::shared_ptr<Exchange>& exchange, history::Type type);

    Results& results_;
    std::shared_ptr<TransactionTap> tap_;
    std::map<std::uint64_t, std::uint64_t> inputs_;  // tags that wait, and their messages
    std::shared_ptr<Exchange> pending_;
    std::vector<Note> waiting_;  // own messages whose transaction did not happen
    std::uint64_t handle_ = 0;
    std::uint64_t next_seq_ = 1;
    std::uint64_t life_number_ = 0;
    std::uint64_t producer_request_ = 0;
    std::uint64_t hold_request_ = 0;
    std::uint64_t own_left_;  // messages that it makes by itself
    bool planned_ = false;
};

}  // namespace ferry::simulation
