#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// What clients saw of a broker, as a list of events: written by the simulator and by the programs
/// that drive real brokers, read by the checker. Nothing here knows the broker's code.
///
/// An event of one message names it by `id`; deliveries and what ends them name the lease too.
namespace ferry::history {

enum class Type : std::uint8_t {
    invoke,  ///< asked; the answer, if one comes, is a later event of the same process and
             ///< operation
    ok,      ///< done
    fail,    ///< definitely not done, and never will be
    info,    ///< may or may not be done, or be done later, at most once
};

enum class What : std::uint8_t {
    publish,  ///< a client's message: queue, key, id, seq, payload, position
    commit,   ///< an application's transaction with this message in its outbox (fail: rolled back)
    deliver,  ///< ok only: the broker handed it out: position, lease, attempt, redelivered
    ack,      ///< of a lease; as invoke, and what it was answered
    nack,     ///< of a lease: it may come again
    lease_ended,  ///< ok only: by its deadline, a disconnect or a crash; nobody said anything of it
    poll,         ///< ok with id 0: the queue was said to be empty
    effect,       ///< ok only: a handler's effect is committed (fail: was rolled back)
    expire,       ///< ok only: dropped by its time to live or a limit of the queue
    dead_letter,  ///< ok only: gone to another queue for good
    purge,        ///< of a whole queue; ok: everything that was ready
    crash,        ///< ok only: the process named `process` died (and with it what it held)
    saga_begin,   ///< id: the saga; seq: how many steps it has, if that is known
    saga_step,    ///< ok only: a step's effect is committed; seq: the step's number, key: steps of
                  ///< one number here run at the same time (0: alone)
    saga_undo,    ///< ok only: a compensation's effect is committed; seq and key: as its step's
    saga_end,     ///< ok only: a final state; attempt: 1 completed, 2 compensated
    drained,  ///< ok only: faults are over, the queue was read empty twice and nobody holds a lease
    depth,    ///< ok only: what the broker says it has: position: ready, lease: leased
    durable,  ///< ok only: what lies below `position` in the log is synced
    reject,   ///< of a lease: it is dropped, or becomes a dead letter
    lock,     ///< ok only: `process` has the lock `id` under the token `lease`, surely until
              ///< `expires_ns` (0: nobody knows) unless it lets go; again for each renewal
    unlock,   ///< of a lock: its holder asks to let go, or was answered
};

/// One event. What an event does not have is 0 or empty.
struct Event {
    std::uint32_t process = 0;  ///< who: a producer, consumer, relay, broker …
    std::uint64_t time_ns = 0;  ///< monotonic, of one clock for all
    Type type = Type::invoke;
    What what = What::publish;
    std::uint32_t queue = 0;
    std::uint64_t key = 0;       ///< ordering key; 0: none
    std::uint64_t id = 0;        ///< of the logical message: tries of one message share it; never 0
    std::uint64_t epoch = 0;     ///< producer's
    std::uint64_t seq = 0;       ///< producer's
    std::uint64_t payload = 0;   ///< hash of body and headers
    std::uint64_t position = 0;  ///< in the broker's log
    std::uint64_t lease = 0;     ///< fencing token of this delivery
    std::uint32_t attempt = 0;
    bool redelivered = false;
    std::uint64_t expires_ns = 0;  ///< of a message: its time to live ends then; 0: never. If its
                                   ///< events name several times, at one between them
    std::uint64_t group = 0;       ///< publishes, acks and rejects of one group are one transaction

    friend bool operator==(const Event&, const Event&) = default;
};

/// In the order in which one observer saw them.
using History = std::vector<Event>;

}  // namespace ferry::history
