#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/transport/lock.hpp"

namespace ferry::transport::native {

class Core;
struct Request;

/// What is known of one lock that an application asked for.
///
///   asking ──► waiting ──► granted ──renewed──► held ──► lost
///      └────────────────────────────────────────►┘
///      any ── the application lets go ──► gone
///
/// A grant that comes as the end of a wait is not `held` before a renewal was answered: how long
/// the word of it was under way nobody knows, and the time to live counts from a request's sending.
///
/// Threads   `mutex` guards what is below it; what is above does not change.
struct KeptLock {
    enum class Phase : std::uint8_t { asking, waiting, granted, held, lost, refused, gone };

    std::string name;
    std::string holder;
    LockOptions options;
    bool waits = false;  // in line, if others have it

    std::mutex mutex;
    std::condition_variable changed;
    Phase phase = Phase::asking;
    std::uint64_t token = 0;
    std::uint64_t ahead = 0;
    ClientError error;            // if refused
    bool connected = false;       // since the last answer
    std::uint64_t unsure_at = 0;  // by lock_clock_ns()
    std::uint64_t lost_at = 0;
    std::uint64_t renew_at = 0;
    LockState told = LockState::held;

    // The I/O thread's.
    std::uint64_t generation = 0;  // of the connection that knows of it
    std::uint64_t request = 0;     // the last lock request
    bool renewing = false;

    /// Requires  mutex held.
    [[nodiscard]] LockState state(std::uint64_t now) const;
    [[nodiscard]] bool over() const {
        return phase == Phase::lost || phase == Phase::refused || phase == Phase::gone;
    }
};
using KeptLockPtr = std::shared_ptr<KeptLock>;

/// Nanoseconds of a clock that nobody sets and that counts while the machine sleeps.
[[nodiscard]] std::uint64_t lock_clock_ns();

/// Asks for locks, renews them, and tells their holders what they may believe.
///
/// Threads   add() and forget(): any. The rest: the I/O thread.
class LockKeeper {
public:
    explicit LockKeeper(Core& core) : core_(core) {}

    void add(const KeptLockPtr& lock);
    void forget(const KeptLock& lock);

    /// Asks for what is new, and on a new connection for everything again.
    void pump();
    void on_told(std::uint64_t request, std::string_view name, std::uint64_t token, bool granted);
    /// Renews what is to be renewed and tells what has changed. Called when the timer rings.
    void look();
    void lost();
    void abandon(const ClientError& because);

private:
    [[nodiscard]] std::vector<KeptLockPtr> all();
    void ask(const KeptLockPtr& lock);
    void on_answer(const KeptLockPtr& lock, std::uint64_t sent_at, const Request& answered);
    void renew(const KeptLockPtr& lock);
    void on_renewed(const KeptLockPtr& lock, std::uint64_t sent_at, const Request& answered);
    void lose(const KeptLockPtr& lock);
    void tell(const KeptLockPtr& lock);

    Core& core_;
    std::mutex mutex_;
    std::vector<KeptLockPtr> locks_;
    bool fresh_ = false;
    std::uint64_t generation_ = 0;  // that was looked at
};

/// Counts the time to live from `sent_at`. Requires lock.mutex held.
void count_from(KeptLock& lock, std::uint64_t sent_at);

}  // namespace ferry::transport::native
