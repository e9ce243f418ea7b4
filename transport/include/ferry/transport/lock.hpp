#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ferry/transport/error.hpp"
#include "ferry/transport/port.hpp"

namespace ferry::transport {

namespace native {
class Core;
struct KeptLock;
}  // namespace native

/// What a holder may believe. docs/locks.md tells what to do in each.
enum class LockState : std::uint8_t {
    held,    // the broker said so lately: nobody else has it
    unsure,  // it has not answered for a while, but its time has not run out: begin nothing new
    lost,    // somebody else may have it from now on: stop. For good
};

struct LockOptions {
    /// For how long it is held without a renewal: 1,000 to 86,400,000. Renewed at thirds of it.
    std::uint64_t ttl_ms = 15'000;
    /// After this holder was lost nobody gets it for so long: 0 to 600,000. None: the broker's
    /// default, 2,000.
    std::optional<std::uint64_t> delay_ms;
    std::uint32_t permits =
        1;  // so many may hold it at a time; the same for all who ask: 1 to 1024
    /// Who holds it, 1 to 255 bytes. The same id gets back what it had, also from a new process.
    /// Empty: a random one, which only this object knows.
    std::string holder;
    bool auto_renew = true;
    /// Asked some times a second while Client::lock waits, on the calling thread: true ends it with
    /// would_block, and the place in line is given up.
    std::function<bool()> give_up;
    /// Called on the client's I/O thread when the state changes, and not for the first `held`. Must
    /// return soon.
    std::function<void(LockState)> on_state;
};

/// A lock that was granted. Made by Client::lock and try_lock.
///
/// A lock alone protects nothing: between asking state() and writing any time may pass. Give
/// token() to whatever is protected, and let it refuse lower ones than it has seen
/// (ferry::consumer::fence does, in the transaction of the data).
///
/// Threads   Any, also at the same time.
/// Time      Counted from the moment a request was sent, on a clock that also counts while the
///           machine sleeps, and ended a twentieth early: `lost` is told here before the broker
///           gives the lock to somebody else, whatever the two wall clocks say.
/// Lifetime  May outlive its Client, and is then lost. Destroying it releases it without waiting.
class Lock {
public:
    [[nodiscard]] LockState state() const;
    /// The fencing token: grows with every grant, for ever, over restarts of the broker too.
    [[nodiscard]] std::uint64_t token() const;
    [[nodiscard]] const std::string& name() const;
    [[nodiscard]] const std::string& holder() const;
    /// Until it is lost if nothing is renewed; 0: it is lost.
    [[nodiscard]] Timeout remaining() const;
    /// Renews now. Errors: LOCK_NOT_HELD: lost. Others: unsure, try again.
    Answer<Done> renew(Timeout timeout = Timeout{0});
    /// Lets it go; the next in line gets it. Errors: LOCK_NOT_HELD: it was lost before.
    Answer<Done> release(Timeout timeout = Timeout{0});

    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

private:
    friend class Client;
    Lock(std::shared_ptr<native::Core> core, std::shared_ptr<native::KeptLock> kept);

    std::shared_ptr<native::Core> core_;
    std::shared_ptr<native::KeptLock> kept_;
};

/// Who holds a lock, or waits for it.
struct LockParty {
    std::string holder;
    std::uint64_t session = 0;  // its connection; 0: it is away
    std::uint64_t token = 0;    // 0: it waits
    std::uint64_t ttl_ms = 0;
    std::uint64_t left_ms = 0;  // until it loses what it has; 0: as long as it is connected
};
struct LockInfo {
    std::string name;
    std::uint64_t permits = 0;
    std::uint64_t holding = 0;
    std::uint64_t waiting = 0;
    std::uint64_t delayed = 0;  // permits that are shut for the delay of a lost holder
    std::uint64_t delay_left_ms = 0;
    std::vector<LockParty> holders;  // only from show_lock(), at most 256 of each
    std::vector<LockParty> waiters;  // in order
};
struct LockPage {
    std::vector<LockInfo> locks;  // in order of name
    bool more = false;            // ask again with after = the last name
};

}  // namespace ferry::transport
