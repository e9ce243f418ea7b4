#pragma once

#include <deque>
#include <tuple>

#include "ferry/platform/random.hpp"
#include "log_locks.hpp"
#include "log_reader.hpp"

namespace ferry::engine::testing {

/// A driver and its clients in one, all choices drawn from one seed. After every step it compares
/// the engine with LogReader and with what the clients were told. `problems` says what did not
/// hold.
class EngineModel {
public:
    explicit EngineModel(std::uint64_t seed);
    void run(int steps);

    std::vector<std::string> problems;
    /// Over every journal byte and every effect: the same for the same seed.
    std::uint64_t fingerprint = 14695981039346656037ULL;
    std::uint64_t crashes = 0, delivered = 0, blocks = 0, loads = 0, delayed = 0, dead = 0,
                  transactions = 0, scheduled = 0, checks = 0, submitted = 0, granted = 0;

private:
    struct Held {
        Position position = 0;
        std::uint64_t deadline_ns = 0;
    };
    struct Sub {
        std::string queue;
        QueueId queue_id = 0;
        std::uint64_t window = 0;
        std::uint64_t lease_ms = 0;
        bool no_ack = false, pull = false;
        Tag next_tag = 1;
        std::map<Tag, Held> held;
    };
    struct Seen {
        std::uint32_t attempt = 0;
        Position token = 0;
    };
    struct Client {
        std::uint64_t handle = 0;
        std::uint64_t epoch = 0;
    };
    struct Opening {
        SessionId session = 0;
        std::string name;
        std::uint64_t epoch = 0;
        Sequence mark = 0;
    };
    struct Checkpoint {
        std::vector<std::byte> state;
        Position at = 0;
    };
    struct Transacting {
        Position record = 0;  // 0: refused
    };
    enum class Decide { prepare, submit, drop, resume };
    using SubKey = std::pair<SessionId, std::uint64_t>;
    using MessageKey = std::pair<QueueId, Position>;

    void step();
    void start_engine();
    void declare_all();
    void after_call();
    void on(const Deliver& effect);
    void on(const Confirm& effect);
    void on(const Refuse& effect);
    void on(const Settled& effect);
    void on(const Reply& effect);
    void on(const Cancelled& effect);
    void on(const ScheduleDue& effect) { due_.push_back(effect); }
    void on(const Activated&) {}
    void on(const LockTold& effect);
    void check_key(const Sub& sub, const MessageKey& message, KeyNumber key);
    void check_queues(bool flushed);

    void dispatch();
    void sync(bool all);
    void crash();
    void restart_cleanly();
    void checkpoint();
    void open_session();
    void close_session();
    void open_producer(SessionId session, const std::string& name, bool new_epoch);
    void publish();
    void transact();
    struct MadeTransaction {
        std::vector<std::byte> messages;
        std::uint32_t count = 0;
        std::vector<SubKey> subs;
        std::vector<std::vector<Range<Tag>>> tags;
        std::vector<TransactionPart> parts;
    };
    [[nodiscard]] MadeTransaction make_transaction(SessionId session, const std::string& name,
                                                   Sequence sequence);
    void transact_many(SessionId session, const std::string& name, Sequence first);
    void check_settled(Position record, const MadeTransaction& made);
    void on_transaction(const Reply& reply);
    void subscribe();
    void pull();
    void settle_some();
    void expire();
    void purge_or_delete();
    void answer_load(bool all);
    void answer_body();
    void move_some();
    [[nodiscard]] bool has_dead_letters(const std::string& queue) const;
    void change_policy();
    void change_schedule();
    void answer_due();
    void change_prepared();
    void check_prepared();
    void on_prepared(const Reply& reply);
    void change_locks();
    void check_locks();
    void end_locks();
    void drop_all_prepared();
    void on_lock(const Reply& reply);
    void check_token(const std::string& name, Position token);
    void drain();

    [[nodiscard]] std::vector<Range<Tag>> some_tags(const Sub& sub);
    std::vector<MessageKey> take_tags(Sub& sub, const std::vector<Range<Tag>>& tags,
                                      std::vector<Range<Tag>>& lost);
    [[nodiscard]] Now now() const { return now_; }
    SessionId some_session() { return sessions_[random_.below(sessions_.size())]; }
    std::string some_queue() { return queue_names_[random_.below(queue_names_.size())]; }
    void mix(std::uint64_t value) { fingerprint = (fingerprint ^ value) * 1099511628211ULL; }
    void problem(std::string text) {
        if (problems.size() < 5) problems.push_back("step " + std::to_string(step_) + ": " + text);
    }

    SeededRandom random_;
    Settings settings_;
    MemoryJournal journal_;
    MessageOffsets offsets_;
    LogReader log_;
    LogLocks log_locks_;
    std::size_t read_upto_ = 0;
    Effects effects_;
    std::unique_ptr<Engine> engine_;
    Position durable_ = 0;
    std::set<MessageKey> went_back_;  // left once: first deliveries in any order
    Now now_{Instant{1'000'000'000}, 1'700'000'000'000};
    int step_ = 0;

    std::vector<std::string> queue_names_{"q0", "q1", "q2", "q3", "q4", "q5"};
    // q0 has no policy, q1 retries later and has dead letters, q2 wears messages out without and
    // refuses what it has no room for, q3 heeds priorities and ids and keeps the newest, q4 is
    // ordered and does what q1 does, q5 does not outlive the broker.
    [[nodiscard]] static QueueOptions options_of(const std::string& name);
    std::vector<SessionId> sessions_;
    SessionId next_session_ = 1;
    std::uint64_t next_request_ = 1;
    std::map<SubKey, Sub> subs_;
    std::map<std::pair<SessionId, std::string>, Client> clients_;
    std::map<std::uint64_t, Opening> opening_;  // by request
    // Settled by the client: what was refused up to here will not be stored any more.
    std::map<std::pair<std::string, std::uint64_t>, Sequence> given_up_;
    std::map<std::tuple<SessionId, std::uint64_t, Sequence>, int> unanswered_;
    std::map<std::uint64_t, std::pair<std::vector<MessageKey>, std::vector<Range<Tag>>>> settling_;
    std::map<std::uint64_t, Transacting> transacting_;                  // by request
    std::map<std::uint64_t, std::pair<Decide, std::string>> deciding_;  // by request
    std::map<std::uint64_t, std::string> locking_;                      // by request
    std::map<MessageKey, Seen> seen_;
    std::set<MessageKey> held_;
    std::map<std::pair<QueueId, KeyNumber>, Position> first_deliveries_;  // by level or key too
    std::map<MessageKey, KeyNumber> keys_;  // of what ordered queues delivered
    std::set<MessageKey> excused_;          // there when the broker crashed: may count as delivered
    std::deque<LoadIndex> loads_;
    std::deque<LoadBody> bodies_;
    std::deque<ScheduleDue> due_;
    std::vector<Checkpoint> checkpoints_;
};

}  // namespace ferry::engine::testing
