#include "ferry/consumer/fence.hpp"

#include <limits>
#include <string>

#include "ferry/consumer/incoming.hpp"
#include "ferry/platform/clock.hpp"

namespace ferry::consumer {

sqlite::Status fence(const sqlite::Database& database, std::string_view resource,
                     std::uint64_t token) {
    using sqlite::Kind;
    using sqlite::Problem;
    if (resource.empty() || resource.size() > limits::resource_bytes_max) {
        return Problem{Kind::refused, 0,
                       "a fenced resource has a name of 1 to " +
                           std::to_string(limits::resource_bytes_max) + " bytes"};
    }
    if (token > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return Problem{Kind::refused, 0, "a fencing token is below 2^63"};
    }
    if (!database.in_transaction()) {
        return Problem{Kind::refused, 0,
                       "a fence is checked inside the transaction that it protects: begin one"};
    }
    // The condition stands in the write itself: nobody can come between reading and writing.
    auto raise = database.prepare(
        "INSERT INTO ferry_fence(resource, token, changed_ms) VALUES(?1, ?2, ?3) "
        "ON CONFLICT(resource) DO UPDATE SET token = ?2, changed_ms = ?3 WHERE token <= ?2");
    if (!raise.ok()) return raise.error();
    raise.value().bind(1, resource).bind(2, token).bind(3, system_clock().now().wall_ms);
    if (auto done = raise.value().run(); !done.ok()) return done;
    if (database.changes() == 1) return sqlite::ok_status();
    return Problem{Kind::conflict, 0,
                   "fenced: " + sqlite::bounded(resource) + " was used under a newer token than " +
                       std::to_string(token) + ", its lock has gone to somebody else"};
}

}  // namespace ferry::consumer
