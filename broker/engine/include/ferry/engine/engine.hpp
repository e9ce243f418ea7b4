#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/engine/message_offsets.hpp"
#include "ferry/engine/rights.hpp"
#include "ferry/engine/types.hpp"
#include "ferry/platform/result.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine {

/// Where the engine's records go. append() takes a copy of the concatenation of `parts` and says at
/// which position, in the segment with which base, it will be; replay() later hands both back.
class Journal {
public:
    struct Place {
        Position position = 0;
        Position segment = 0;
    };
    virtual ~Journal() = default;
    virtual Place append(std::span<const Bytes> parts) = 0;
};

struct Settings {
    std::uint64_t lease_ms_default = 30ULL * 60 * 1000;
    std::uint64_t extents_in_memory_max =
        1U << 20;  // 24 bytes each; beyond, queue indexes go to the log
    std::uint64_t temporary_producer_ms = 10ULL * 60 * 1000;
    // Of the hash of message ids; the same in every run over one log.
    std::uint64_t id_key_low = 0, id_key_high = 0;
    std::uint64_t payload_bytes_max = limits::payload_bytes_max;  // larger ones are refused
};

/// What a compaction or a drop needs to know of one segment.
struct SegmentLoad {
    Position base = 0;
    std::uint64_t references = 0;  // live messages (counted once per queue) and index blocks
    std::uint64_t bytes = 0;       // their bytes; an upper bound of what a compacted segment needs
    // A checkpoint at this position or later does not refer to the segment. 0: still referenced;
    // UINT64_MAX: not known before the next record.
    Position dead_since = 0;
};
struct LiveSet {
    std::vector<Extent> extents;           // sorted by position, not overlapping
    std::vector<Position> blocks;          // live index blocks that lie in the segment
    std::vector<Position> blocks_to_read;  // index blocks that may name messages in the segment;
                                           // see extents_of_block()
};

/// Exchanges, bindings, queues, leases and producers: apply(state, command, time) -> effects.
///
/// A deterministic function: no file, socket, clock, thread or randomness, and no order taken from
/// a hash table. The same commands, times and places give the same records and effects. Replaying
/// the records gives the same durable state.
///
/// Threads   One, the owner's. Lifetime: `journal` and `effects` outlive the engine.
/// Blocking  Never. Memory: bounded by Settings and limits.hpp, not by the backlog.
/// Effects   Every command appends its effects to the `effects` given to the constructor; the
/// driver
///           carries them out in order and clears them. Answers and confirms appear only after
///           durable() covered the records they stand on. Deliver effects appear from dispatch().
/// Time      `now` never goes back (asserted for the monotonic part).
class Engine {
public:
    Engine(Journal& journal, Effects& effects, Settings settings);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // -- recovery, in this order: load() at most once, replay() per record, recovered() once --
    /// Errors    corrupt. The engine is useless afterwards.
    Status load(Bytes checkpoint);
    Status replay(const Journal::Place& place, Bytes body);
    /// `unclean`: messages may have been on their way when the previous run ended.
    void recovered(bool unclean, Now now);
    /// State that load() takes. `clean`: nobody holds a delivery any more (call return_all()
    /// before).
    void save(std::vector<std::byte>& out, bool clean) const;

    // -- the log's progress --
    /// Every record that begins below `upto` is durable. Never goes back.
    void durable(Position upto);
    /// An answer, a confirm or a delivery waits for the record at this position. What was appended
    /// behind it may be written later, together with something that is waited for: an ack that
    /// nobody asked to be told of is not worth a sync of its own. 0: nothing ever waited.
    [[nodiscard]] Position awaited() const;
    /// While the disk is full publishes are refused with DISK_FULL; everything else goes on.
    void set_disk_full(bool full);

    // -- sessions --
    /// `rights`: what it publishes is held against them (see permits()); null: it may do
    /// everything. What else a session asks its caller holds against them, by demand_of().
    void open_session(SessionId session, std::shared_ptr<const Rights> rights = nullptr);
    void close_session(SessionId session, Now now);
    /// As if every session had closed: what is unacked returns. For a clean stop.
    void return_all(Now now);

    // -- publishing --
    /// False: a message is malformed; nothing was applied and the session must be closed.
    [[nodiscard]] bool publish(const PublishCommand& command, Now now);
    /// Publishes and acks in one record: all of it or nothing. Answers with TransactionAnswer or
    /// with a Failure; after a Failure nothing has changed but that the sequence is open, and no
    /// transaction can take it any more. False: as publish().
    [[nodiscard]] bool transact(const TransactionCommand& command, Now now);
    /// The same for many, one after another, each all of it or nothing. Answers with Confirm and
    /// Refuse of their sequences. Where nothing is refused they are one record: they share its
    /// cost, and are durable in the same moment. False: as publish(), of all of them.
    [[nodiscard]] bool transact_many(const TransactionsCommand& command, Now now);
    void open_producer(SessionId session, std::uint64_t request, std::string_view name,
                       std::optional<std::uint64_t> epoch, bool temporary, Now now);
    void hold(SessionId session, std::uint64_t request, std::uint64_t producer,
              std::span<const Range<Sequence>> ranges);

    // -- consuming --
    void subscribe(SessionId session, std::uint64_t request, std::uint64_t subscription,
                   std::string_view queue, const SubscribeOptions& options, Now now);
    void unsubscribe(SessionId session, std::uint64_t request, std::uint64_t subscription, Now now);
    void credit(SessionId session, std::uint64_t request, std::uint64_t subscription,
                std::uint64_t window_messages, std::uint64_t window_bytes);
    /// The reply comes after the Deliver effects of the messages found.
    void pull(SessionId session, std::uint64_t request, std::uint64_t subscription,
              std::string_view queue, std::uint64_t messages_max, std::uint64_t bytes_max,
              bool no_ack, Now now);
    /// Request 0: no answer wanted.
    void ack(SessionId session, std::uint64_t request, std::uint64_t subscription,
             std::span<const Range<Tag>> tags, Now now);
    /// Without `requeue` the messages are dropped, or dead-lettered if their queue does so. With it
    /// they wait `delay_ms` (0: not at all), or as long as the queue's policy says.
    void nack(SessionId session, std::uint64_t request, std::uint64_t subscription,
              std::span<const Range<Tag>> tags, bool requeue, Now now,
              std::optional<std::uint64_t> delay_ms = std::nullopt);
    void extend(SessionId session, std::uint64_t request, std::uint64_t subscription,
                std::span<const Range<Tag>> tags, std::uint64_t lease_ms, Now now);

    // -- topology --
    /// Name "": the engine makes one from `session` and a counter ("amq.gen-…").
    void declare_queue(SessionId session, std::uint64_t request, std::string_view name,
                       const QueueOptions& options, Now now);
    void delete_queue(SessionId session, std::uint64_t request, std::string_view name,
                      bool if_unused, bool if_empty, Now now);
    /// Moves messages to the queue `target`, or ("") back to the queues in which they died: the one
    /// at `position`, or (0) up to `most` from the head. Answers with their number when it is
    /// durable that they leave; their arrival follows by itself. `parked`: those that no queue
    /// took, instead of those that are ready.
    void move_messages(SessionId session, std::uint64_t request, std::string_view name,
                       std::string_view target, Position position, std::uint64_t most, bool parked,
                       Now now);
    /// Takes back delayed messages with this id that are not due yet; answers with their number.
    void cancel(SessionId session, std::uint64_t request, std::string_view name,
                std::string_view id, Now now);
    /// Drops the ready message at `position`.
    void drop_message(SessionId session, std::uint64_t request, std::string_view name,
                      Position position, Now now);
    void purge_queue(SessionId session, std::uint64_t request, std::string_view name, Now now);
    void declare_exchange(SessionId session, std::uint64_t request, std::string_view name,
                          ExchangeType type, const ExchangeOptions& options);
    void delete_exchange(SessionId session, std::uint64_t request, std::string_view name,
                         bool if_unused);
    void bind(SessionId session, std::uint64_t request, const Binding& binding);
    void unbind(SessionId session, std::uint64_t request, const Binding& binding);

    // -- policies: settings of queues by name; docs/policies.md --
    /// Makes or replaces it; what changes counts at once. Answers with the number of queues that
    /// take settings from it. `check`: only says whether it could be set, and changes nothing.
    void set_policy(SessionId session, std::uint64_t request, const NamedPolicy& policy, bool check,
                    Now now);
    void delete_policy(SessionId session, std::uint64_t request, std::string_view name, Now now);
    /// Those of the configuration, after recovered(): what the log has from an earlier file and is
    /// not among them goes. Requires complaint_of() to be empty for each, and names only once.
    void configure_policies(std::span<const NamedPolicy> from_file, Now now);
    /// At most `most` with names after `after`, in order.
    [[nodiscard]] std::vector<PolicyView> policies(std::string_view after, std::size_t most) const;

    // -- schedules: messages that come again and again; docs/time.md --
    /// Makes or replaces it. `schedule.next_ms` is when it is due first; where only the message or
    /// the rule for missed times is new, the time that was set before stays. `check`: only says
    /// whether it could be set.
    void set_schedule(SessionId session, std::uint64_t request, Schedule schedule, bool check,
                      Now now);
    void delete_schedule(SessionId session, std::uint64_t request, std::string_view name, Now now);
    /// `next_ms`: due then, when it goes on.
    void pause_schedule(SessionId session, std::uint64_t request, std::string_view name,
                        bool paused, std::uint64_t next_ms, Now now);
    /// Answer to ScheduleDue: publishes the message of `due_ms` if its time has come, and has the
    /// next at `next_ms` (0: never), in one record.
    void schedule_due(std::string_view name, std::uint64_t due_ms, std::uint64_t next_ms, Now now);
    /// Asks for the next time of every schedule that is not due: after recovered(), as clocks and
    /// calendars may be others than before.
    void plan_schedules(Now now);
    [[nodiscard]] const Schedule* schedule(std::string_view name) const;
    /// At most `most` with names after `after`, in order. Valid until the next command.
    [[nodiscard]] std::vector<const Schedule*> schedules(std::string_view after,
                                                         std::size_t most) const;

    // -- prepared messages: published when their producer says so; docs/checkback.md --
    /// Keeps `wanted` until it is submitted or dropped. The id, the check queue, the message and
    /// what says how to ask are the caller's, the rest is ignored. Answers with PreparedAnswer; the
    /// same once more is a duplicate. False: the message is malformed; the session must be closed.
    [[nodiscard]] bool prepare(SessionId session, std::uint64_t request, Prepared wanted, Now now);
    /// Publishes it, as if that happened now. A failure (no route, a full queue or disk) leaves it
    /// prepared. Answers with PreparedAnswer; what was submitted before is a duplicate, what was
    /// dropped a Failure.
    void submit(SessionId session, std::uint64_t request, std::string_view id, Now now);
    /// It will never be published. As submit().
    void drop_prepared(SessionId session, std::uint64_t request, std::string_view id, Now now);
    /// Asks again from the first check on, now; for what is parked, and for the impatient.
    void resume_prepared(SessionId session, std::uint64_t request, std::string_view id, Now now);
    [[nodiscard]] std::optional<PreparedView> prepared(std::string_view id) const;
    /// At most `most` with ids after `after`, in order.
    [[nodiscard]] std::vector<PreparedView> prepared(std::string_view after, std::size_t most,
                                                     bool parked_only) const;

    // -- locks: docs/locks.md --
    /// Gets the lock, or (with `wait`) a place in the line, or what this holder had before, which
    /// is then this session's. Answers with LockAnswer when that is durable, or with LOCK_HELD;
    /// who waits gets LockTold when its turn has come.
    void lock(const LockCommand& command, Now now);
    /// Lets it go. `token` 0: whatever the holder has, lock or place. LOCK_NOT_HELD, and nothing
    /// changes: the holder has nothing, has another token, or is with another session.
    void unlock(SessionId session, std::uint64_t request, std::string_view name,
                std::string_view holder, Position token, Now now);
    /// An operator's: ends the grant with this token, or (0) all of them. As if it were lost.
    void force_unlock(SessionId session, std::uint64_t request, std::string_view name,
                      Position token, Now now);
    /// From now on its time to live counts anew, and it is this session's. LOCK_NOT_HELD: the
    /// holder does not hold it under this token.
    void renew_lock(SessionId session, std::uint64_t request, std::string_view name,
                    std::string_view holder, Position token, Now now);
    [[nodiscard]] std::optional<LockView> lock(std::string_view name, Now now) const;
    /// At most `most` with names after `after`, in order, without holders and waiters.
    [[nodiscard]] std::vector<LockView> locks(std::string_view after, std::size_t most,
                                              Now now) const;

    /// Why messages are not delivered: answers with facts about the queue, or about the message at
    /// `position` (not 0), or delayed messages with this id (not empty).
    void why(SessionId session, std::uint64_t request, std::string_view queue, Position position,
             std::string_view id, Now now);

    /// Answers with a QueueView, `floor` included, when everything that it stands on is durable:
    /// after a crash nothing below `floor` comes back.
    void show_queue(SessionId session, std::uint64_t request, std::string_view name, Now now);

    // -- once a turn, after all commands of the turn: writes gathered acks, hands out messages --
    void dispatch(Now now);
    /// Ends leases that ran out and forgets temporary producers. Call when next_timer() is due, or
    /// more often.
    void tick(Now now);
    [[nodiscard]] std::optional<Instant> next_timer() const;

    // -- answers to LoadIndex --
    void index_loaded(QueueId queue, Position record, Bytes body);
    /// The block could not be read: the queue stands still there; shown by metrics.
    void index_unreadable(QueueId queue, Position record);

    // -- answers to LoadBody --
    void body_loaded(QueueId queue, Position record, Bytes body, Now now);
    /// What is in it stays parked; shown by metrics.
    void body_unreadable(QueueId queue, Position record);

    // -- queries, at once and without effects --
    [[nodiscard]] std::optional<QueueView> queue(std::string_view name, Now now) const;
    /// At most `most` queues with names after `after`, in order.
    [[nodiscard]] std::vector<QueueView> queues(std::string_view after, std::size_t most,
                                                Now now) const;
    /// At most `most` consumers behind `after`, of one queue or (empty) of all, by the name of the
    /// queue. One that leaves while somebody asks page by page may hide another one.
    [[nodiscard]] std::vector<ConsumerView> consumers(std::string_view queue,
                                                      const ConsumerPlace& after, std::size_t most,
                                                      Now now) const;
    [[nodiscard]] std::optional<ExchangeView> exchange(std::string_view name) const;
    [[nodiscard]] std::vector<ExchangeView> exchanges(std::string_view after,
                                                      std::size_t most) const;
    [[nodiscard]] std::vector<Binding> bindings_of(std::string_view exchange) const;
    /// What lies ready, returned messages first; only what is in memory (at least the first
    /// thousand runs).
    [[nodiscard]] std::vector<PeekItem> peek(std::string_view queue, std::uint64_t skip,
                                             std::size_t most, Where where = Where::ready) const;
    /// Takes time in proportion to the number of queues.
    [[nodiscard]] Totals totals() const;
    /// Totals::confirmed alone, at no cost.
    [[nodiscard]] std::uint64_t confirmed() const;

    // -- space --
    [[nodiscard]] std::vector<SegmentLoad> segment_loads() const;
    /// Appends a record that changes nothing, so that a checkpoint has a new position to stand at.
    void move_on();
    /// Forget a segment that was dropped.
    void forget_segment(Position base);
    /// What is alive in positions [base, end).
    [[nodiscard]] LiveSet live_in(Position base, Position end) const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Empty if the policy is sound; otherwise what is wrong with it and what is allowed.
[[nodiscard]] std::string complaint_of(const NamedPolicy& policy);

// -- reading record bodies; pure functions, any thread --

/// The bytes of `count` messages of `extent`, beginning with its `skip`-th, one behind another.
/// `offsets`: for who reads parts of one record again and again; null: not needed.
/// Errors    corrupt: the body is no publish record or does not hold them.
Result<Bytes> message_bytes(Bytes body, const Extent& extent, std::uint32_t skip,
                            std::uint32_t count, std::vector<std::byte>& scratch,
                            MessageOffsets* offsets = nullptr);
/// When the broker took the record's messages; 0 if the body is no publish record.
[[nodiscard]] std::uint64_t published_ms(Bytes body);
/// A publish record reduced to some of its messages, for compaction. Ranges: (first index, count),
/// ascending.
Result<std::vector<std::byte>> slice_record(
    Bytes body, std::span<const std::pair<std::uint32_t, std::uint32_t>> ranges);
/// The extents that an index block names. Errors: corrupt.
Result<std::vector<Extent>> extents_of_block(Bytes body);

}  // namespace ferry::engine
