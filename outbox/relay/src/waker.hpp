#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ferry/outbox/wake.hpp"

namespace ferry::outbox::relay {

/// What a relay sleeps on: the datagrams of commits, and an eventfd for everything of this process.
///
/// Threads   signal(): any. The rest: the relay's.
class Waker {
public:
    Waker();
    ~Waker();
    Waker(const Waker&) = delete;
    Waker& operator=(const Waker&) = delete;

    /// Listens for the commits of this database; takes the place over from a relay that is gone.
    /// False: it cannot (the fallback check finds messages then).
    bool listen(const std::string& database_path);
    /// Stops listening. `remove`: the address is still ours and goes too.
    void stop_listening(bool remove);
    void signal() noexcept;

    /// Sleeps until something comes or `milliseconds` have passed. True: a commit was announced.
    bool wait(std::uint64_t milliseconds);

private:
    int event_ = -1;
    int socket_ = -1;
    std::string path_;
    std::optional<WakeAddress> address_;
};

}  // namespace ferry::outbox::relay
