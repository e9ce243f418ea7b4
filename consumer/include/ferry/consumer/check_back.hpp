#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "ferry/consumer/incoming.hpp"
#include "ferry/consumer/runtime.hpp"
#include "ferry/transport/client.hpp"

namespace ferry::consumer {

/// What the broker asks about a message that nobody submitted or dropped.
struct Check {
    std::string id;
    std::uint64_t attempt = 1;      // since it was prepared
    std::uint64_t prepared_ms = 0;  // ms since 1970
    std::string producer;
};

struct CheckReply {
    enum class Kind : std::uint8_t {
        submit,   // the local work is done: publish it
        drop,     // it was not done, and can not be done any more
        unknown,  // nobody can say yet: the broker asks again, later
        failed,   // the question could not be looked into: put again soon
    };
    Kind kind = Kind::unknown;
    std::string reason;  // of unknown and failed, for the log
};

struct CheckBackOptions {
    /// The producer's SQLite database. Neither it nor its table ferry_decision (made by
    /// outbox::init_decisions) is made here: in a wrong database everything is "rolled back".
    std::string database;
    /// Decides instead of the database's table, which is left alone then. Any thread, one call at a
    /// time. It must make `drop` final before it says so: a commit that comes later has to fail.
    std::function<CheckReply(const Check&)> answer;
    std::string queue;  // in which the broker asks; exists
    /// Where messages go that are no checks; empty: see BrokerSourceOptions.
    std::string dead_letter_queue;
    /// Decisions are forgotten after so long, once the broker says that their messages are not
    /// prepared any more. At least check_retain_min.
    Duration retain{7LL * 24 * 3600 * 1000};
    Duration tidy_every{3'600'000};
    std::chrono::milliseconds busy_timeout{1'000};
    std::function<void(std::string_view)> on_event;  // any thread; one sentence
};
inline constexpr Duration check_retain_min{3'600'000};

struct CheckBackFigures {
    std::uint64_t submitted = 0;
    std::uint64_t dropped = 0;
    std::uint64_t unknown = 0;
    std::uint64_t again = 0;      // the database was busy, the broker away, a queue full
    std::uint64_t gone = 0;       // decided so before: asked for twice, or the producer was faster
    std::uint64_t conflicts = 0;  // decided otherwise at the broker: an operator was there
    std::uint64_t forgotten = 0;  // rows
};

/// The answering side of prepared messages (docs/checkback.md): takes the broker's checks, lets the
/// row decide, submits or drops.
///
/// Threads   start() makes 5; stop() and the destructor join them. Calls from any thread.
/// Lifetime  `client` outlives it; it needs a client with publisher = true for dead letters.
/// Crashes   At any moment nothing is lost: a check is acked after the decision is on the broker's
///           disk. Several may serve one queue and one database.
class CheckBack {
public:
    /// Errors    rejected (an option; the database, with on_event told why), and what subscribing
    ///           says.
    static transport::Answer<std::unique_ptr<CheckBack>> start(transport::Client& client,
                                                               CheckBackOptions options);
    ~CheckBack();
    CheckBack(const CheckBack&) = delete;
    CheckBack& operator=(const CheckBack&) = delete;

    /// As Runtime::stop.
    Status stop(Duration timeout);
    [[nodiscard]] CheckBackFigures figures() const;
    [[nodiscard]] Health health() const;
    [[nodiscard]] bool ended() const;
    /// Forgets old decisions now. Errors: what the broker or the database said.
    transport::Answer<std::uint64_t> tidy();

private:
    struct Impl;
    explicit CheckBack(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::consumer
