#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ferry/outbox/limits.hpp"
#include "ferry/sqlite/database.hpp"

/// What an operator asks of an outbox and does to it; `ferry outbox` is made of it.
///
/// Threads   That of the connection. Every change is one or more short IMMEDIATE transactions, at
///           most limits::bulk_rows_max rows each, so that the application's writers go on.
/// Errors    schema (no outbox here, or of another version), busy, and those of reading and
///           writing. A change that failed in the middle has done whole steps.
namespace ferry::outbox {

struct Figures {
    std::string producer;
    std::uint64_t epoch = 0;
    int schema_version = 0;
    std::uint64_t pending = 0;               // rows that are not sent
    bool pending_exact = true;               // false: at most so many, by the range of ids
    std::uint64_t retrying = 0;              // of them: refused, tried again later
    std::uint64_t parked = 0;                // of them: refused, waiting for an operator
    std::optional<std::uint64_t> oldest_ms;  // when the oldest of them was stored
    std::uint64_t last_id = 0;               // highest id ever given
    std::uint64_t last_sent = 0;
    std::uint64_t sent_total = 0;
    std::optional<std::uint64_t> sent_ms;
    std::uint64_t skipped_total = 0;
    std::string policy;
    std::uint64_t retain_ms = 0;
    std::uint32_t payload_bytes_max = 0;
    std::string lease_owner;  // empty: no relay has ever been at work, or it left
    std::uint64_t lease_until_ms = 0;
};

/// Up to this range of ids pending rows are counted one by one without being asked to.
inline constexpr std::uint64_t count_rows_max = 1'000'000;

/// `exact`: count the rows, however many there are.
sqlite::Answer<Figures> figures(const sqlite::Database& database, bool exact = false);

enum class Standing : std::uint8_t { pending, retrying, parked, sent, skipped };
[[nodiscard]] const char* name_of(Standing standing);

/// A message without its payload.
struct Entry {
    std::int64_t id = 0;
    Standing standing = Standing::pending;
    std::string exchange;
    std::string routing_key;
    std::uint64_t payload_bytes = 0;
    std::string ordering_key;
    std::uint64_t created_ms = 0;
    std::uint64_t sent_ms = 0;  // 0: not sent
    std::string stream;         // empty: no event
    std::uint64_t version = 0;
    std::uint32_t attempts = 0;  // refusals
    int reason_code = 0;
    std::string reason;
    std::optional<std::uint64_t> next_ms;
};

/// All of a message.
struct Details {
    Entry entry;
    std::string payload;
    std::string content_type;
    std::string headers_json;
    std::uint64_t deliver_at_ms = 0;
    std::uint64_t expires_at_ms = 0;
    std::uint32_t priority = 0;
    std::string correlation_id;
    std::string reply_to;
};

struct Filter {
    enum class Which : std::uint8_t { pending, refused, parked, sent };
    Which which = Which::pending;  // pending: all that are not sent
    std::string ordering_key;      // empty: all
    std::string exchange;          // empty: all
    std::int64_t after_id = 0;
    std::uint32_t count = 100;  // 1 to limits::list_rows_max
};

/// In the order of ids.
sqlite::Answer<std::vector<Entry>> list(const sqlite::Database& database, const Filter& filter);

/// Errors    not_found: it is neither waiting nor kept.
sqlite::Answer<Details> show(const sqlite::Database& database, std::int64_t id);

/// Refused messages: these, or (if empty) all that are parked.
using Ids = std::span<const std::int64_t>;

/// Makes the relay try refused messages again now, and wakes it. Returns how many.
/// Errors    not_found: an id is not among the refused; nothing was changed.
sqlite::Answer<std::uint64_t> retry(const sqlite::Database& database, Ids ids);

/// Gives up messages: they are never sent. An event stays in its stream. Returns how many.
///
/// Errors    not_found. conflict: a message that was not refused may be on its way while a relay
///           holds the lease: stop the relay first. Nothing was changed.
sqlite::Answer<std::uint64_t> skip(const sqlite::Database& database, Ids ids, std::uint64_t now_ms);

/// Deletes kept messages that were sent before a moment; never events, never unsent ones.
/// `progress` is told how many so far; false stops. Returns how many.
sqlite::Answer<std::uint64_t> purge_sent(const sqlite::Database& database, std::uint64_t before_ms,
                                         const std::function<bool(std::uint64_t)>& progress = {});

struct Finding {
    enum class Severity : std::uint8_t { note, warning, damage };
    Severity severity = Severity::note;
    std::string text;
};
[[nodiscard]] const char* name_of(Finding::Severity severity);

/// Checks tables, counters and rows against docs/outbox-schema.md; reads all of the outbox.
/// `repair`: sets a sequence that was put back to where ids go on without being used twice.
///
/// Errors    not those of the outbox, which are findings, but of reading the file.
sqlite::Answer<std::vector<Finding>> verify(const sqlite::Database& database, bool repair = false);

}  // namespace ferry::outbox
