#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/sqlite/database.hpp"

/// The row that decides what becomes of a prepared message (docs/checkback.md), in the producer's
/// own database. The transaction whose message it is inserts `committed`; who is asked while there
/// is no row inserts `rolled back` first and then answers. The primary key lets one of them
/// through, so a commit that comes late fails instead of contradicting the answer.
namespace ferry::outbox {

enum class Decided : std::uint8_t { committed, rolled_back };

struct DecisionRow {
    std::string id;
    std::int64_t decided_ms = 0;
};

/// Makes the table ferry_decision, and the database if the connection made an empty one: then in
/// WAL mode. Fine to call at every start.
///
/// Errors    schema (not in WAL mode, or another table of this name), and those of writing.
sqlite::Status init_decisions(const sqlite::Database& database);

/// Fine if the table is there. Errors: schema (it is not, or not in WAL mode; the text says what to
/// run), and those of reading.
sqlite::Status check_decisions(const sqlite::Database& database);

/// The statements of init_decisions, for documents and for other languages.
[[nodiscard]] std::string_view decision_sql();

/// Part of the application's transaction: it is the one that decides for `id`. To be called before
/// the application's own writes or after them; what counts is the commit.
///
/// Requires  nothing is submitted before the commit has returned.
/// Errors    conflict: the broker asked meanwhile, was told "rolled back", and the message is or
///           will be dropped: roll back. refused: no transaction is open, the connection may lose
///           commits (not synchronous=FULL), or the id is not 1 to 200 bytes. Others as an INSERT.
sqlite::Status decide(const sqlite::Database& database, std::string_view id);

/// Answers for `id`, durably: what its transaction committed, or from now on "rolled back".
///
/// Requires  no transaction is open on this connection.
/// Blocking  As a write transaction, and for its busy timeout on others: a transaction that has
///           written and is still open is waited for.
/// Errors    busy: it is still open; ask again. Others as a write.
sqlite::Answer<Decided> settle_decision(const sqlite::Database& database, std::string_view id);

/// Rows decided before `before_ms`, behind `after` (or from the first), in order.
sqlite::Answer<std::vector<DecisionRow>> decisions_before(const sqlite::Database& database,
                                                          std::int64_t before_ms,
                                                          const DecisionRow& after,
                                                          std::uint32_t at_most);
/// Removes rows, in one transaction. Requires that no message of these ids is prepared any more.
sqlite::Status forget_decisions(const sqlite::Database& database, std::span<const std::string> ids);

}  // namespace ferry::outbox
