#pragma once

#include "ferry/sqlite/database.hpp"

namespace ferry::sqlite {

/// Makes durable whatever this connection can read: after it, a commit that was seen before it
/// survives a power cut, whatever `synchronous` its writer uses (but OFF, which also skips the sync
/// of checkpoints). Who publishes what was committed calls it between reading and publishing.
///
/// Requires  The connection has read from the database before.
/// Blocking  On the disk; little if nothing is to be done.
/// Errors    refused: the database is not in WAL mode. full, io: nobody knows what is durable.
Status sync_wal(const Database& database, const char* schema = "main");

}  // namespace ferry::sqlite
