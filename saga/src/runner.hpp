#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ferry/outbox/message.hpp"
#include "store.hpp"

namespace ferry::saga {

/// What happened, for metrics. Dropped with the transaction that it belongs to.
struct Tally {
    enum class What : std::uint8_t {
        started,
        completed,
        compensated,
        parked,
        resent,     // a command or compensation that is not the first
        step_done,  // with its seconds
        ignored,    // repeats, late answers
        unknown,    // for sagas that are not there
    };
    struct Entry {
        What what;
        const Stored* stored;  // null: of none
        std::uint32_t step = 0;
        double seconds = 0;
    };
    std::vector<Entry> entries;
};

struct StartRequest {
    std::string id;
    std::string definition;
    std::uint32_t version = 0;  // 0: the newest
    std::string input = "{}";   // JSON
    std::string traceparent;
};
struct StartAnswer {
    bool created = false;  // false: it was there, started with the same
    SagaState state = SagaState::running;
};

/// Feeds events to stored instances and does what they ask for, in the transaction that is open:
/// the instance, its messages, its sub-sagas and its times change together.
class Runner {
public:
    /// Stores a message in the same transaction.
    using Publish = std::function<sqlite::Status(const outbox::Message&)>;

    /// `fence`: whose HTTP calls these are; null: of a program that makes none.
    Runner(Store& store, std::string reply_queue, Random& random,
           const std::atomic<std::uint64_t>* fence = nullptr)
        : store_(store), queue_(std::move(reply_queue)), random_(random), fence_(fence) {}

    /// Errors    not_found (no such definition), conflict (the id is another saga's), refused (id,
    ///           input).
    sqlite::Answer<StartAnswer> start(const StartRequest& request, std::uint64_t now_ms,
                                      const Publish& publish);
    /// Errors    not_found: no such saga.
    sqlite::Answer<Outcome> feed(std::string_view id, const Event& event, std::uint64_t now_ms,
                                 const Publish& publish);
    sqlite::Status tick(const Store::Due& due, std::uint64_t now_ms, const Publish& publish);
    /// An answer of a participant: the step by its name.
    sqlite::Answer<Outcome> answer(std::string_view id, std::string_view step, Reply reply,
                                   std::uint64_t now_ms, const Publish& publish);

    [[nodiscard]] Tally take_tally() { return std::exchange(tally_, {}); }
    /// What was counted since a moment can be taken back.
    [[nodiscard]] std::size_t counted() const { return tally_.entries.size(); }
    void forget_behind(std::size_t counted) { tally_.entries.resize(counted); }
    [[nodiscard]] Store& store() { return store_; }

private:
    struct ChildEnd {
        std::string child;
        std::uint32_t step = 0;
        SagaState state = SagaState::completed;
        std::string result;
        std::string reason;
    };
    struct Pending {
        std::string id;
        std::variant<Event, ChildEnd> what;
        /// Told what became of UndoAll: who waits for it.
        std::string asker;
        std::uint32_t asker_step = 0;
    };

    sqlite::Answer<StartAnswer> started_before(const StartRequest& request,
                                               sqlite::Problem otherwise);
    sqlite::Answer<bool> create(Store::Row& row, std::uint64_t now_ms, const Publish& publish);
    sqlite::Answer<Outcome> one(Store::Row& row, const Event& event, std::uint64_t now_ms,
                                const Publish& publish);
    sqlite::Status act(const Store::Row& row, const Outcome& outcome, std::uint64_t now_ms,
                       const Publish& publish);
    sqlite::Status send(const Store::Row& row, const Send& send, const Publish& publish);
    sqlite::Status call(const Store::Row& row, const Send& send, const Route& route);
    [[nodiscard]] std::string traceparent_of(const Instance& instance);
    sqlite::Status start_child(const Store::Row& row, const StartChild& child, std::uint64_t now_ms,
                               const Publish& publish);
    sqlite::Status drain(std::uint64_t now_ms, const Publish& publish);
    sqlite::Status pending(Pending& one, std::uint64_t now_ms, const Publish& publish);
    void reply_to(std::string id, std::uint32_t step, Op op, Answer answer, std::string reason);
    void count(Tally::What what, const Store::Row& row, std::uint32_t step = 0, double seconds = 0);
    std::string new_trace(std::string_view traceparent);

    Store& store_;
    const std::string queue_;
    Random& random_;
    const std::atomic<std::uint64_t>* const fence_;
    std::deque<Pending> pending_;
    std::vector<outbox::Header> headers_;
    Tally tally_;
};

}  // namespace ferry::saga
