#pragma once

#include <cstdint>
#include <string_view>

namespace ferry::wire {

// number, name, retry helps, what it means and what to do. docs/protocol.md shows the same table.
#define FERRY_CODES(X)                                                                        \
    X(100, malformed_frame, "MALFORMED_FRAME", false,                                         \
      "the frame is not what its verb demands; fix the client")                               \
    X(101, frame_too_large, "FRAME_TOO_LARGE", false,                                         \
      "the frame is longer than the broker's limit; send smaller batches")                    \
    X(102, unexpected_verb, "UNEXPECTED_VERB", false,                                         \
      "this verb is unknown or not allowed now; say hello first")                             \
    X(103, unsupported_version, "UNSUPPORTED_VERSION", false,                                 \
      "the broker does not speak this protocol version")                                      \
    X(104, timed_out, "TIMED_OUT", true, "the peer was silent for too long; reconnect")       \
    X(200, no_such_queue, "NO_SUCH_QUEUE", false, "declare the queue first")                  \
    X(201, no_such_exchange, "NO_SUCH_EXCHANGE", false, "declare the exchange first")         \
    X(202, declared_differently, "DECLARED_DIFFERENTLY", false,                               \
      "it exists with other settings; use those or delete it")                                \
    X(203, exclusive_elsewhere, "EXCLUSIVE_ELSEWHERE", true,                                  \
      "another connection has it to itself")                                                  \
    X(204, no_such_subscription, "NO_SUCH_SUBSCRIPTION", false,                               \
      "subscribe first; it may have been cancelled")                                          \
    X(205, no_route, "NO_ROUTE", false, "no queue is bound for this message; bind one")       \
    X(206, bad_name, "BAD_NAME", false,                                                       \
      "names have 1 to 255 of a-z A-Z 0-9 . _ - and do not begin with amq.")                  \
    X(207, bad_option, "BAD_OPTION", false, "an option is unknown or outside its range")      \
    X(208, not_empty, "NOT_EMPTY", true, "the queue still holds messages")                    \
    X(209, in_use, "IN_USE", true, "it still has consumers or bindings")                      \
    X(210, no_such_binding, "NO_SUCH_BINDING", false, "there is no such binding")             \
    X(211, no_such_message, "NO_SUCH_MESSAGE", false, "the queue does not hold that message") \
    X(212, already_exists, "ALREADY_EXISTS", false, "this id is in use on this connection")   \
    X(240, no_such_policy, "NO_SUCH_POLICY", false, "there is no such policy")                \
    X(241, no_such_schedule, "NO_SUCH_SCHEDULE", false, "there is no such schedule")          \
    X(242, from_configuration, "FROM_CONFIGURATION", false,                                   \
      "it is in the broker's configuration file; change it there")                            \
    X(250, no_such_prepared, "NO_SUCH_PREPARED", false,                                       \
      "no message with this id is prepared, nor was one decided lately")                      \
    X(251, prepared_decided, "PREPARED_DECIDED", false,                                       \
      "it was decided otherwise before, and stays so")                                        \
    X(252, prepared_differently, "PREPARED_DIFFERENTLY", false,                               \
      "another message is prepared under this id; take a new id")                             \
    X(260, lock_held, "LOCK_HELD", true,                                                      \
      "somebody else has the lock; stand in line for it, or come back later")                 \
    X(261, lock_not_held, "LOCK_NOT_HELD", false,                                             \
      "this holder does not have the lock, or under another token; stop what needs it")       \
    X(262, no_such_lock, "NO_SUCH_LOCK", false, "nobody holds or awaits such a lock")         \
    X(263, no_consumer, "NO_CONSUMER", true, "nobody consumes from a queue that it reaches")  \
    X(264, no_such_instance, "NO_SUCH_INSTANCE", false,                                       \
      "this instance of the service is not registered, or no more; register it again")        \
    X(300, sequence_gap, "SEQUENCE_GAP", false,                                               \
      "sequences were skipped; re-send from the broker's high-water mark")                    \
    X(301, fenced, "FENCED", false, "a newer epoch of this producer exists; stop")            \
    X(302, lease_lost, "LEASE_LOST", false,                                                   \
      "the lease ended before; the message may be with somebody else")                        \
    X(303, no_such_producer, "NO_SUCH_PRODUCER", false,                                       \
      "open the producer on this connection first")                                           \
    X(330, transaction_over, "TRANSACTION_OVER", false,                                       \
      "this transaction was refused or given up; send it under a new sequence")               \
    X(400, disk_full, "DISK_FULL", true,                                                      \
      "the broker's disk is full; consuming frees space, publishing resumes by itself")       \
    X(401, limit_reached, "LIMIT_REACHED", true, "a limit was reached; the text names it")    \
    X(402, too_many_connections, "TOO_MANY_CONNECTIONS", true,                                \
      "connect later or raise limits.connections")                                            \
    X(403, message_too_large, "MESSAGE_TOO_LARGE", false,                                     \
      "the message is over the broker's limit; store it elsewhere")                           \
    X(430, queue_full, "QUEUE_FULL", true,                                                    \
      "a queue is at its max_length or max_bytes; publish again when there is room")          \
    X(470, authentication_failed, "AUTHENTICATION_FAILED", false,                             \
      "user or password is wrong, or none was given and the broker wants one")                \
    X(471, permission_denied, "PERMISSION_DENIED", false,                                     \
      "the user lacks the right that the text names; ask for it (ferry user permit)")         \
    X(472, user_changed, "USER_CHANGED", true,                                                \
      "the password or the rights of the user changed; reconnect")                            \
    X(500, storage_failed, "STORAGE_FAILED", true,                                            \
      "the broker's disk failed; what was unconfirmed is in doubt")                           \
    X(501, shutting_down, "SHUTTING_DOWN", true, "the broker is stopping; reconnect later")   \
    X(502, damaged, "DAMAGED", false, "stored bytes are damaged; see the broker's log")       \
    X(503, internal, "INTERNAL", false, "a defect of the broker; please report it")           \
    X(504, not_supported, "NOT_SUPPORTED", false, "this broker does not offer that")

/// Why something was refused. The numbers are part of the protocol and never change.
enum class Code : std::uint16_t {
    ok = 0,
#define FERRY_CODE_ENUM(number, name, text, retry, meaning) name = (number),
    FERRY_CODES(FERRY_CODE_ENUM)
#undef FERRY_CODE_ENUM
};

struct CodeInfo {
    Code code;
    std::string_view name;
    bool retry_helps;
    std::string_view meaning;
};

/// The row of `code`; for a number that is not in the table, name and meaning say so.
[[nodiscard]] const CodeInfo& code_info(Code code);

}  // namespace ferry::wire
