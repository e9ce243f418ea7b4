#include "full_sync.hpp"

#include "ferry/platform/planted.hpp"

namespace ferry::outbox {

constexpr std::int64_t synchronous_full = 2;

sqlite::Status check_full_sync(const sqlite::Database& database) {
    const auto synchronous = database.integer("PRAGMA main.synchronous");
    if (!synchronous.ok()) return synchronous.error();
    if (FERRY_PLANTED("outbox-lossy-connection-let-in")) return sqlite::ok_status();
    if (synchronous.value().value_or(0) >= synchronous_full) return sqlite::ok_status();
    return sqlite::Problem{sqlite::Kind::refused, 0,
                           "the connection may lose commits when the power fails; run PRAGMA "
                           "synchronous=FULL on every connection"};
}

}  // namespace ferry::outbox
