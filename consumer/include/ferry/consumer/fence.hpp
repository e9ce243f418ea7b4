#pragma once

#include <cstdint>
#include <string_view>

#include "ferry/sqlite/database.hpp"

namespace ferry::consumer {

/// Lets an effect happen only under a token that is not older than any seen for this resource: the
/// one place where a lock's holder that was paused beyond its lease can be stopped for sure. Tokens
/// are a lock's or a delivery's fencing tokens, which grow for ever.
///
/// Requires  a transaction that the caller commits; a rollback takes the token back too.
/// Errors    conflict: a newer token was here; nothing was changed. refused: no transaction, or a
///           resource of 0 or more than limits::resource_bytes_max bytes. schema: no ferry_fence
///           table (Inbox::init makes it).
[[nodiscard]] sqlite::Status fence(const sqlite::Database& database, std::string_view resource,
                                   std::uint64_t token);

}  // namespace ferry::consumer
