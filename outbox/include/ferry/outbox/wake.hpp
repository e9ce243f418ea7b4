#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ferry/sqlite/api.hpp"

namespace ferry::outbox {

inline constexpr std::string_view wake_suffix = "-ferry.sock";
/// Longest file name of a database whose relay can be woken; longer ones are found once a second.
inline constexpr std::size_t wake_file_name_bytes_max = 64;

/// The Unix datagram socket at which the relay of a database waits for commits: a file next to the
/// database, called as it with wake_suffix. A path that is too long for a socket address is reached
/// through /proc/self/fd and the directory.
///
/// Threads   any; one at a time.
class WakeAddress {
public:
    /// `database_path` as sqlite3_db_filename gives it: absolute, links resolved. Nothing: an empty
    /// path, a file name over wake_file_name_bytes_max, or a directory that cannot be opened.
    static std::optional<WakeAddress> of(std::string_view database_path) noexcept;
    WakeAddress(WakeAddress&& other) noexcept;
    WakeAddress(const WakeAddress&) = delete;
    WakeAddress& operator=(const WakeAddress&) = delete;
    WakeAddress& operator=(WakeAddress&&) = delete;
    ~WakeAddress();

    /// For bind and sendto, while this object lives.
    [[nodiscard]] const sockaddr* address() const noexcept;
    [[nodiscard]] socklen_t length() const noexcept { return length_; }
    /// The same for unlink and chmod.
    [[nodiscard]] const char* path() const noexcept { return address_.sun_path; }

private:
    WakeAddress() = default;
    sockaddr_un address_{};
    socklen_t length_ = 0;
    int directory_ = -1;
};

/// Tells the relay of this database, if there is one, that something was committed. Never waits,
/// never fails: a lost signal costs the relay at most its fallback interval.
///
/// Threads   any. Works after a fork.
void send_wake(std::string_view database_path) noexcept;

enum class HookResult : std::uint8_t {
    installed,
    left_alone,  // the application turned auto-checkpoints off, or has a WAL hook of its own
};

/// Makes every commit of this connection call send_wake. There is one WAL hook per connection, and
/// SQLite's auto-checkpoint uses it: ours takes over the checkpoint, after as many pages as were
/// set. A hook that is not SQLite's own is left alone.
///
/// A later PRAGMA wal_autocheckpoint or sqlite3_wal_hook takes our hook away; then messages are
/// found by the relay's fallback check.
///
/// Threads   That of the connection. Lifetime: nothing to keep; the code must stay loaded.
HookResult install_wake_hook(sqlite3* handle) noexcept;

}  // namespace ferry::outbox
