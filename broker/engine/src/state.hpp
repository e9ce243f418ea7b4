#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "ferry/engine/engine.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/message.hpp"
#include "live_space.hpp"
#include "locks.hpp"
#include "planned_keys.hpp"
#include "prepared.hpp"
#include "producers.hpp"
#include "queue.hpp"
#include "topology.hpp"

namespace ferry::engine {

struct OpenProducer {
    std::uint64_t number = 0;
    std::uint64_t epoch = 0;
};

struct Session {
    std::vector<QueueId> exclusive_queues;
    std::map<std::uint64_t, OpenProducer> producers;  // by handle
    std::uint64_t next_handle = 1;
    std::map<std::uint64_t, std::unique_ptr<Subscription>> subscriptions;
    std::shared_ptr<const Rights> rights;  // null: everything
};

/// An effect that waits until the record at `gate` is durable.
struct Gated {
    Position gate = 0;
    Effect effect;
};

/// A run of messages of one publish command that share one fate.
struct PublishPlan {
    enum class Fate : std::uint8_t { store, drop, duplicate, refuse };
    Fate fate = Fate::store;
    Code code = Code::ok;
    const Route* route = nullptr;
    std::uint32_t count = 0;
    std::uint32_t offset = 0;  // in the command's messages
    std::uint32_t bytes = 0;
    std::uint64_t deliver_at = 0;
    std::uint64_t expires_at = 0;
    std::uint64_t id_hash = 0;
    std::uint8_t priority = 0;
    bool repeated = false;  // some queue has seen its id
    QueueId full = 0;       // refused: this queue has no room
};

/// What a message's properties ask of the engine.
struct Wishes {
    std::uint64_t deliver_at = 0;
    std::uint64_t expires_at = 0;
    std::uint8_t priority = 0;
    std::string_view id;
    std::string_view ordering_key;
};

/// A message of a publish command that was read and is not planned yet.
struct ReadMessage {
    wire::MessageView view;
    Wishes wishes;
    IdHash id;  // if `hashed`
    bool hashed = false;
};
/// So many are read ahead where ids are looked up, while the memory of their places is on its way.
constexpr std::uint32_t messages_ahead_max = 16;

/// A failed delivery that is tried again later.
struct DelayedPart {
    Extent extent;
    std::uint32_t attempts = 0;
    std::uint64_t delay_ms = 0;
};
/// Timer lists of a queue, as records name them.
constexpr std::uint8_t due_retries = 0;
constexpr std::uint8_t due_scheduled = 1;

/// The steady clock never gets there; a damaged record that says so is refused.
constexpr std::uint64_t steady_ms_max = TimerList::due_max / 4;

/// In one `returned`, `purge` or `index block` record, which has to fit into a batch of the log.
constexpr std::size_t extents_per_record_max = 32'768;

[[nodiscard]] std::string no_queue(std::string_view name);
/// What a publisher is told besides the code.
[[nodiscard]] std::string_view id_of(Bytes properties);
[[nodiscard]] std::string refusal_text(Code code, const PublishCommand& command);

/// Everything the engine knows. The command groups (publish.cpp, settle.cpp, dispatch.cpp,
/// admin.cpp, replay.cpp …) are its members.
struct Engine::State {
    State(Journal& journal_to_use, Effects& effects_to_fill, Settings settings_to_use)
        : journal(journal_to_use),
          effects(effects_to_fill),
          settings(settings_to_use),
          topology(queue_ids) {}

    Journal& journal;
    Effects& effects;
    Settings settings;

    LiveSpace live;
    Topology::QueueIds queue_ids;  // by name
    Topology topology;
    std::map<QueueId, std::unique_ptr<Queue>> queues;
    std::vector<Queue*> queue_table;  // by id, for the hot path; null: gone
    Producers producers;
    std::map<std::string, NamedPolicy, std::less<>> policies;         // by name
    std::map<std::string, Schedule, std::less<>> schedules;           // by name
    std::set<std::pair<std::uint64_t, std::string>> schedule_alarms;  // by next_ms, wall clock
    std::set<std::string, std::less<>> schedules_asked;  // of which schedule_due() is awaited
    PreparedMessages prepared;
    std::uint64_t prepared_not_before_ns = 0;  // more were due than a tick looks at
    Locks locks;
    std::unordered_map<SessionId, Session> sessions;  // looked up, never walked
    QueueId next_queue_id = 1;
    std::set<QueueId> unused_queue_ids;  // below next_queue_id
    std::uint64_t generated_names = 0;

    Position durable = 0;
    bool disk_full = false;
    bool replaying = true;       // until recovered()
    Bytes replay_body;           // of the publish record that is being replayed
    bool replay_broken = false;  // a record does not fit what came before it
    Position token_floor = 0;    // see deliver(): a record of this run, before any delivery
    Instant last_now;
    std::deque<Gated> gated;  // in order of gate
    Position last_gate = 0;
    Position awaited = 0;  // the last record that something in `gated` or `awaiting_log` needs
    std::deque<std::pair<Position, QueueId>>
        awaiting_log;            // queues with messages that become durable
    std::vector<QueueId> dirty;  // queues to look at in dispatch()

    std::vector<QueueId> acked_queues;  // with acks of this turn
    std::size_t ack_spans = 0;
    std::vector<Settled> settled;  // answers that wait for the record of `acks`

    // Lower bounds of lease deadlines, one per subscription that has unacked messages.
    std::set<std::pair<std::uint64_t, std::pair<SessionId, std::uint64_t>>> lease_timers;
    // The next moment at which each queue has something to do, and all that may have one.
    std::set<std::pair<std::uint64_t, QueueId>> alarms;
    std::set<QueueId> timed;
    std::set<QueueId> parked_queues;
    // The steady clock: milliseconds that only pass, whatever becomes of the wall clock.
    struct {
        std::uint64_t steady_ms = 0;  // at `mono`
        std::uint64_t wall_ms = 0;    // then; 0: never read
        Instant mono;
    } clock;
    std::uint64_t last_wall_ms = 0;
    std::int64_t wall_offset = 0;  // wall - monotonic, ms
    std::uint64_t producers_checked_ms = 0;

    // Index blocks that were read back: nothing in the log says so, so a crash wants them again as
    // long as a checkpoint from before may be used. They go with their segment.
    std::vector<Position> used_blocks;

    Totals totals;
    std::uint64_t extents_in_memory = 0;  // of all queues, kept up to date by account()

    // Scratch memory of publish(), kept to avoid allocation.
    PublishRecord record;
    std::vector<PublishPlan> plans;
    std::vector<PublishPlan> by_priority;
    std::vector<PublishPlan> by_queue;
    std::array<ReadMessage, messages_ahead_max> messages_ahead;
    std::deque<Route> uncached_routes;
    std::uint64_t plan_number = 0;     // of the command being planned
    std::string denied;                // what it must not do first of all; empty: nothing
    std::vector<QueueId> planned_ids;  // queues that remembered one for the command being planned
    bool plans_sortable = false;       // all that is stored goes to queues that heed priorities
    const Route* last_run_route = nullptr;  // of the last run of `record`
    std::uint64_t plans_open = 0;           // sequences that the plans would add to the open ones
    std::vector<Bytes> parts;
    std::vector<std::byte> head;
    std::vector<std::byte> body;
    PlannedKeys planned_keys;
    std::vector<Extent> keyed_extents;
    std::vector<std::byte> run_bytes;
    std::vector<TransactionPart> joined_parts;  // of the transactions of one command
    std::vector<Range<Tag>> joined_tags;

    // -- common --
    void see(Instant now);
    void see(Now now);
    [[nodiscard]] Queue* queue_of(QueueId id) const {
        return id < queue_table.size() ? queue_table[id] : nullptr;
    }
    Queue* queue_named(std::string_view name);
    /// The queue, if this session may use it. Null: the session was told why not.
    Queue* queue_for(SessionId session, std::uint64_t request, std::string_view name);
    Session* session_of(SessionId id);
    Journal::Place append(Bytes body_bytes);
    Journal::Place append(std::span<const Bytes> parts);
    void after(Position gate, Effect effect);
    void fail(SessionId session, std::uint64_t request, Code code, std::string text);
    void reply(Position gate, SessionId session, std::uint64_t request, Answer answer);
    void mark_dirty(Queue& queue);
    void await_log(Queue& queue, Position position);
    /// Runs `change` on the queue's ready list and keeps the global count of extents right.
    template <class F>
    auto account(Queue& queue, F&& change) {
        const std::size_t before = queue.ready.extents_in_memory();
        struct Settle {
            State& state;
            Queue& queue;
            std::size_t before;
            ~Settle() { state.extents_in_memory += queue.ready.extents_in_memory() - before; }
        } settle{*this, queue, before};
        return change(queue.ready);
    }

    // -- publish.cpp --
    bool publish(const PublishCommand& command, Now now);
    bool plan_publish(const PublishCommand& command, const Producer& producer, Now now);
    void carry_out_plans(const PublishCommand& command, Producer& producer, Now now);
    void add_run(const PublishPlan& plan, Bytes messages);
    void add_part(Bytes bytes);
    void sort_plans_by_priority();
    void write_publish(const PublishCommand& command, Producer& producer, Now now,
                       bool repeated = false);
    void refuse(const PublishCommand& command, Range<Sequence> sequences, Code code,
                bool gated_by_log, QueueId full = 0);
    [[nodiscard]] std::string text_of_refusal(Code code, const PublishCommand& command,
                                              QueueId full);
    struct Planning;
    struct RouteTraits {
        bool guarded = false;     // some queue refuses publishes when it is full
        bool priorities = false;  // some queue heeds them
        bool all_heed = true;     // every queue does
        bool dedupes = false;     // some queue remembers ids
        bool ordered = false;     // some queue keeps the order of keys
    };
    [[nodiscard]] RouteTraits traits_of(const Route& route) const;
    const ReadMessage* read_next(Planning& planning, std::uint32_t index);
    const Route* find_route(Planning& planning, const wire::MessageView& message);
    void check_rights(Planning& planning, const wire::MessageView& message);
    [[nodiscard]] Code refusal_of(const Planning& planning, const wire::MessageView& message,
                                  const Route& route, std::uint64_t deliver_at) const;
    [[nodiscard]] bool has_consumer(const Route& route) const;
    void open_sequences(Producer& producer, Range<Sequence> sequences);
    void log_open_sequences(Producer& producer);
    void enter(Queue& queue, const Run& run, std::span<const Extent> extents,
               std::uint64_t wall_ms);
    void split_by_key(Bytes messages, const Extent& run);
    [[nodiscard]] bool split_as_planned(Bytes messages, const Extent& run);
    void add_keyed(const Extent& run, std::uint32_t at, std::size_t offset, std::size_t bytes,
                   KeyNumber key);
    Bytes bytes_of_run(std::span<const Bytes> messages, std::size_t part, std::size_t skip,
                       std::size_t size);
    void apply_publish(const Journal::Place& place, const PublishRecord& record,
                       std::span<const Bytes> messages);
    [[nodiscard]] std::size_t extents_allowed() const;
    void spill(Queue& queue);

    // -- dedupe.cpp --
    void expect_id(const Route& route, const IdHash& id);
    void leave_out_repeats(PublishPlan& plan, const IdHash& id);
    void remember_id(const PublishPlan& plan, const IdHash& id, IdWindow* only);
    IdWindow* window_of(Queue& queue);
    void forget_planned_ids();
    void replay_ids(Queue& queue, const Run& run, std::uint32_t offset);

    // -- limits.cpp --
    void take_room(const Route& route, PublishPlan& plan);
    void measure_room(Queue& queue) const;
    [[nodiscard]] std::string text_of_full(QueueId id);
    void drop_over_limit(Queue& queue);

    // -- transact.cpp --
    /// The subscriptions that a transaction's parts speak of, found and checked.
    struct Settlements {
        std::vector<Subscription*> subscriptions;  // of each part
    };
    [[nodiscard]] bool find_settlements(const TransactionCommand& command, Settlements& out,
                                        std::string& why, Code& code);
    [[nodiscard]] bool plan_transaction(const TransactionCommand& command, Now now,
                                        std::string& why, Code& code);
    void refuse_transaction(const TransactionCommand& command, Producer& producer, Code code,
                            std::string text);
    void write_transaction(const TransactionCommand& command, Producer& producer,
                           const Settlements& settlements, Now now, std::uint64_t sequences = 1);
    void hear(const TransactionCommand& command, Now now);
    void sort_plans_by_queue();
    [[nodiscard]] bool carry_out(const TransactionCommand& command, Producer& producer, Now now);
    [[nodiscard]] bool carry_out_together(const TransactionsCommand& command, Producer& producer,
                                          Now now, bool& malformed);
    bool carry_out_apart(const TransactionsCommand& command, Now now);
    [[nodiscard]] bool transact(const TransactionCommand& command, Now now);
    [[nodiscard]] bool transact_many(const TransactionsCommand& command, Now now);

    // -- settle.cpp --
    Subscription* subscription_of(SessionId session, std::uint64_t id);
    void book_ack(Queue& queue, const Extent& extent, KeyHint hint = no_key_hint);
    void book_gone(Queue& queue, const Extent& extent, KeyHint hint = no_key_hint);
    void flush_acks();
    void return_extents(Queue& queue,
                        std::span<const std::pair<Extent, std::uint32_t>> parts_to_return);
    void arm_lease(Subscription& subscription, Instant deadline);
    void expire_leases(Subscription& subscription, Now now);
    void return_chunks(Subscription& subscription);
    void settle(SessionId session, std::uint64_t request, std::vector<Range<Tag>> lost, bool waits);

    // -- later.cpp --
    [[nodiscard]] std::uint64_t steady_ms(Instant now) const;
    void replay_clock(std::uint64_t wall_ms);
    void start_clock(Now now);
    Extras& extras_of(Queue& queue);
    void set_alarm(Queue& queue, Instant not_before = {});
    void ring_alarms(Now now);
    void apply_due(Queue& queue, std::uint8_t list, TimerList::Key upto, Position gate);
    void release_due(Queue& queue, std::uint8_t list, std::uint64_t now_ms);
    void delay_extents(Queue& queue, std::span<const DelayedPart> parts_to_delay, Now now);
    void retry_extents(Queue& queue, std::span<const std::pair<Extent, std::uint32_t>> failed,
                       std::optional<std::uint64_t> delay_ms, Now now);
    bool replay_later(RecordType type, const Journal::Place& place, Bytes bytes);
    bool pick(Queue& queue, const Extent& extent, std::uint32_t* attempts);

    // -- expire.cpp --
    [[nodiscard]] std::uint64_t expiry_of(const Queue& queue, const Run& run,
                                          std::uint64_t wall_ms) const;
    void note_expiry(Queue& queue, const Run& run, const Extent& extent, std::uint64_t wall_ms);
    void expire_messages(Queue& queue, Now now);
    void schedule(Queue& queue, const Run& run, const Extent& extent);
    bool apply_cancel(Queue& queue, TimerList::Key key);
    void use(Queue& queue);
    bool expire_queue(Queue& queue, Now now);

    // -- leaving.cpp, moves.cpp --
    struct Transfer;
    void apply_leave(Queue& queue, const Extent& extent, const Leaving& like);
    void leave(Queue& queue, std::span<const std::pair<Extent, std::uint32_t>> parts_out,
               LeaveReason reason, std::string_view target);
    bool pick_leaving(Queue& queue, const Extent& extent);
    bool replay_leave(Bytes bytes);
    void pump_leaving(Queue& queue);
    void park(Queue& queue, Leaving& leaving);
    void unpark(Queue& queue);
    void retry_parked();
    bool route_leaving(Queue& source, const Leaving& leaving, const wire::MessageView& message,
                       wire::Message& out, std::vector<QueueId>& targets);
    void write_transfer(Queue& source, Transfer& transfer, Now now);
    bool add_to_transfer(Queue& source, Transfer& transfer, const Leaving& leaving,
                         const Extent& part, const wire::MessageView& message);
    void send_off(Queue& source, Position record_at, Bytes bytes, Now now);
    bool give_up(Queue& queue, const Span& span);
    std::optional<std::pair<Extent, std::uint32_t>> take_ready(Queue& queue, Position position);
    bool serve_move(Queue& queue, WaitingMove& move);
    void move_parked(Queue& queue, std::string_view target, std::uint64_t most,
                     std::uint64_t& moved);

    // -- dispatch.cpp --
    /// Records below it may be delivered from this queue: those of a queue that does not outlive
    /// the broker need not be on disk.
    [[nodiscard]] Position visible(const Queue& queue) const {
        if (FERRY_PLANTED("engine-delivered-before-it-is-durable")) return UINT64_MAX;
        return queue.options.durable ? durable : UINT64_MAX;
    }
    void dispatch_queue(Queue& queue, Now now);
    [[nodiscard]] bool counts_as_delivered(const Queue& queue) const;
    bool extend_horizon(Queue& queue);
    std::optional<ReadyList::Taken> take_front(Queue& queue, std::uint64_t messages_max,
                                               std::uint64_t bytes_max);
    std::uint64_t deliver(Queue& queue, Subscription& subscription, std::uint64_t messages_max,
                          std::uint64_t bytes_max, Now now);
    void load_index_if_needed(Queue& queue);
    void hand_out(Queue& queue, Subscription& subscription, const ReadyList::Taken& taken, Now now,
                  KeyHint key_hint = no_key_hint);
    bool join_delivery(Subscription& subscription, const Extent& extent);
    bool worn_out(Queue& queue, const ReadyList::Taken& taken);
    bool front_ready(Queue& queue, std::uint64_t& messages_max);
    bool serve_pull(Queue& queue, const WaitingPull& pull, Now now);

    // -- ordered.cpp --
    void dispatch_ordered(Queue& queue, Now now);
    bool deliver_offered(Queue& queue, Subscription& subscription, bool any, Now now);
    struct Credit {
        std::uint64_t messages = 0;
        std::uint64_t bytes = 0;
    };
    [[nodiscard]] std::size_t runs_passed_max(const Queue& queue, const Subscription* puller) const;
    bool look_at_front(Queue& queue, Subscription* puller, const Credit& credit, Now now);
    std::uint32_t pass_held_keys(Queue& queue, std::uint32_t most);
    bool hand_out_keyless(Queue& queue, Subscription* puller, const Credit& credit,
                          std::uint64_t most, Now now);
    Subscription* next_with_credit(Queue& queue);
    bool serve_pull_ordered(Queue& queue, Subscription& subscription, const WaitingPull& pull,
                            Now now);
    void join_consumers(Queue& queue, Subscription& subscription);
    void leave_consumers(Queue& queue, Subscription& subscription);
    [[nodiscard]] static bool passed_over(const Queue& queue, const Subscription& subscription);
    void heard(Subscription& subscription, Now now);
    void lost_lease(Subscription& subscription, std::uint64_t messages);
    void share_keys_among_living(Queue& queue);
    [[nodiscard]] static ConsumerView consumer_view(const Queue& queue,
                                                    const Subscription& subscription, Now now);
    void hold_keys_of_waiting(Queue& queue);

    // -- topology --
    QueueId free_queue_id() const;
    Queue& make_queue(QueueId id, std::string_view name, const QueueOptions& options,
                      std::uint64_t lease_ms);
    void drop_waiting(Queue& queue);
    void drop_extras(Queue& queue, Code reason);
    void drop_queue(Queue& queue, Code reason, std::string_view why);
    void delete_queue_now(Queue& queue, Code reason, std::string_view why);
    void delete_exchange_now(std::string_view name);
    void end_subscription(Session& session, Subscription& subscription);
    Journal::Place log_binding(RecordType type, const Binding& binding);
    void close_session(SessionId id, Now now);
    QueueView view(const Queue& queue, Now now) const;
    Position floor_of(const Queue& queue) const;

    // -- policies.cpp --
    [[nodiscard]] const NamedPolicy* policy_for(std::string_view queue_name) const;
    void apply_policy(Queue& queue);
    void put_policy_in_force(const NamedPolicy& policy);
    void end_policy(std::string_view name);
    void write_policy(const NamedPolicy& policy);
    void erase_policy(const std::string& name);
    bool replay_policy(RecordType type, Bytes bytes);
    void save_policies(std::vector<std::byte>& out) const;
    bool load_policies(Reader& in);

    // -- schedules.cpp --
    void arm_schedule(const Schedule& schedule, std::uint64_t next_ms);
    void keep_schedule(Schedule schedule);
    void drop_schedule(const std::string& name);
    void ask_schedule(const Schedule& schedule, std::uint64_t after_ms);
    void ask_due_schedules(Now now);
    void replan_schedules(std::uint64_t wall_ms);
    [[nodiscard]] std::uint64_t next_schedule_ns() const;
    void move_schedule(Schedule& schedule, std::uint8_t how, std::uint64_t next_ms);
    void settle_schedule(Schedule& schedule, std::uint64_t due_ms, std::uint64_t next_ms);
    bool has_room(const Route& route, std::size_t bytes);
    void fire_schedule(Schedule& schedule, std::uint64_t next_ms, Now now);
    bool replay_schedule(RecordType type, const Journal::Place& place, Bytes bytes);
    void save_schedules(std::vector<std::byte>& out) const;
    bool load_schedules(Reader& in);

    // -- prepared.cpp --
    [[nodiscard]] PublishCommand publish_of(SessionId session, const Prepared& p) const;
    void prepared_failure(SessionId session, std::uint64_t request, std::string_view id,
                          bool submitted);
    void write_submit(SessionId session, std::uint64_t request, const Prepared& p, Now now);
    Unasked ask_producer(PreparedMessages::Kept& kept, Now now);
    void look_at_prepared(Now now);
    [[nodiscard]] std::uint64_t next_prepared_ns() const;
    [[nodiscard]] PreparedView view_of(const PreparedMessages::Kept& kept) const;
    void set_clock(std::uint64_t steady, std::uint64_t wall_ms);
    bool replay_prepared(RecordType type, const Journal::Place& place, Bytes bytes);

    // -- lock_commands.cpp --
    void refuse_unlock(SessionId session, std::uint64_t request, std::string_view name,
                       std::string_view holder);
    Position write_grant(Locks::Lock& lock, std::string_view holder, const Locks::Terms& terms);
    void write_end(Locks::Lock& lock, Locks::Party& party, Locks::End how, Now now);
    void write_leave(Locks::Lock& lock, Locks::Party& party);
    void serve_lock(std::string_view name, Now now);
    void look_at_locks(Now now);

    // -- why.cpp --
    struct Explainer;

    // -- replay.cpp --
    void save_queue(std::vector<std::byte>& out, const Queue& queue, bool clean) const;
    Status load_queue(Reader& in);
    void save_extras(std::vector<std::byte>& out, const Queue& queue) const;
    bool load_extras(Reader& in, Queue& queue);
    Status replay(const Journal::Place& place, Bytes bytes);
    bool replay_transaction(const Journal::Place& place, Bytes bytes);
    bool replay_ack(Bytes bytes);
    bool replay_topology(RecordType type, Bytes bytes);
    bool replay_queue(RecordType type, const Journal::Place& place, Bytes bytes);
    bool replay_producer(RecordType type, Bytes bytes);
    void suspect_all();
    void write_token_floor(bool unclean);
    /// Whether the live space is what the queues keep alive.
    bool books_agree();
};

}  // namespace ferry::engine
