#include "ferry/outbox/wake.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

#include "ferry/outbox/limits.hpp"
#include "ferry/sqlite/database.hpp"

namespace ferry::outbox {

std::optional<WakeAddress> WakeAddress::of(std::string_view database_path) noexcept {
    const std::size_t slash = database_path.rfind('/');
    if (database_path.empty() || slash == std::string_view::npos) return std::nullopt;
    const std::string_view name = database_path.substr(slash + 1);
    if (name.empty() || name.size() > wake_file_name_bytes_max) return std::nullopt;

    WakeAddress out;
    out.address_.sun_family = AF_UNIX;
    char* const path = out.address_.sun_path;
    constexpr std::size_t room = sizeof out.address_.sun_path;
    if (database_path.size() + wake_suffix.size() < room) {
        std::memcpy(path, database_path.data(), database_path.size());
        std::memcpy(path + database_path.size(), wake_suffix.data(), wake_suffix.size());
    } else {
        if (slash >= 4096) return std::nullopt;
        char directory[4097];
        std::memcpy(directory, database_path.data(), slash + 1);
        directory[slash + 1] = '\0';
        out.directory_ = ::open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (out.directory_ < 0) return std::nullopt;
        std::snprintf(path, room, "/proc/self/fd/%d/%.*s%.*s", out.directory_,
                      static_cast<int>(name.size()), name.data(),
                      static_cast<int>(wake_suffix.size()), wake_suffix.data());
    }
    out.length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path) + 1);
    return out;
}

WakeAddress::WakeAddress(WakeAddress&& other) noexcept
    : address_(other.address_),
      length_(other.length_),
      directory_(std::exchange(other.directory_, -1)) {}

WakeAddress::~WakeAddress() {
    if (directory_ >= 0) ::close(directory_);
}

const sockaddr* WakeAddress::address() const noexcept {
    return reinterpret_cast<const sockaddr*>(&address_);
}

namespace {

// One unbound socket for the process: it belongs to no database, so connections and forks share
// it. Never closed.
int wake_socket() noexcept {
    static const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return socket;
}

}  // namespace

void send_wake(std::string_view database_path) noexcept {
    const int before = errno;
    if (const auto address = WakeAddress::of(database_path)) {
        const int socket = wake_socket();
        // Nobody listens, or has enough signals waiting: both are fine.
        if (socket >= 0) {
            static_cast<void>(::sendto(socket, "w", 1, MSG_NOSIGNAL | MSG_DONTWAIT,
                                       address->address(), address->length()));
        }
    }
    errno = before;
}

namespace {

// `argument` is the number of pages and not an object, as in SQLite's own hook: nothing has to
// outlive the connection.
int on_commit(void* argument, sqlite3* handle, const char* schema, int pages) {
    if (const char* const path = sqlite3_db_filename(handle, schema)) send_wake(path);
    const auto every = static_cast<int>(reinterpret_cast<std::intptr_t>(argument));
    // Its failure is no failure of the commit; a later checkpoint does the same work.
    if (every > 0 && pages >= every) sqlite3_wal_checkpoint(handle, schema);
    return SQLITE_OK;
}

}  // namespace

HookResult install_wake_hook(sqlite3* handle) noexcept {
    // The pragma tells the page count only while SQLite's own hook is in place.
    int every = 0;
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(handle, "PRAGMA wal_autocheckpoint", -1, &statement, nullptr) ==
            SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        every = sqlite3_column_int(statement, 0);
    }
    sqlite3_finalize(statement);
    if (every <= 0) return HookResult::left_alone;
    sqlite3_wal_hook(handle, on_commit, reinterpret_cast<void*>(static_cast<std::intptr_t>(every)));
    return HookResult::installed;
}

}  // namespace ferry::outbox
