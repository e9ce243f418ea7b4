#pragma once

#include "ferry/sqlite/database.hpp"

namespace ferry::outbox {

/// Refused when commits of this connection may be lost with the power: a message could go out
/// whose transaction never happened.
[[nodiscard]] sqlite::Status check_full_sync(const sqlite::Database& database);

}  // namespace ferry::outbox
