#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/sqlite/database.hpp"

/// Looking at and mending an inbox from outside, beside the running consumer.
///
/// Threads   The database's.
/// Blocking  On the disk and the busy timeout. What changes much does so in short transactions.
/// Errors    schema: no inbox here, or a newer one. not_found: no such consumer.
namespace ferry::consumer {

struct ConsumerRow {
    std::string name;
    std::string queue;
    std::string log_id;
    std::uint64_t floor = 0;
    bool running = false;  // or it ended without saying so
    std::uint64_t cursors = 0;
    std::uint64_t ranges = 0;
    std::uint64_t unsure = 0;  // ranges of them kept for good
    std::uint64_t ids = 0;
    std::uint64_t oldest_id_ms = 0;
};
[[nodiscard]] sqlite::Answer<std::vector<ConsumerRow>> inbox_status(const sqlite::Database& db);

struct CursorRow {
    std::string consumer;
    std::string producer;
    std::uint64_t epoch = 0;
    std::uint64_t below = 0;  // everything below is settled
    std::uint64_t ranges = 0;
    std::uint64_t newest = 0;  // highest sequence applied exactly, 0: none
    std::uint64_t seen_ms = 0;
};
/// In order of name. An empty `consumer`: all.
[[nodiscard]] sqlite::Answer<std::vector<CursorRow>> inbox_cursors(const sqlite::Database& db,
                                                                   std::string_view consumer,
                                                                   std::uint32_t at_most);

/// What the inbox would do with a message.
struct Known {
    std::string consumer;
    std::string id;
    bool applied = false;  // it would be taken for a repeat
    std::string why;       // one sentence
};
[[nodiscard]] sqlite::Answer<std::vector<Known>> inbox_show(const sqlite::Database& db,
                                                            std::string_view consumer,
                                                            std::string_view id);

struct Purged {
    std::uint64_t ids = 0;
    std::uint64_t cursors = 0;
    std::uint64_t ranges = 0;
};
/// Forgets ids of this consumer that were seen before `before_ms`.
[[nodiscard]] sqlite::Answer<Purged> inbox_purge_ids(const sqlite::Database& db,
                                                     std::string_view consumer,
                                                     std::uint64_t before_ms);
/// Forgets the consumer altogether: what it applied would be applied again.
[[nodiscard]] sqlite::Answer<Purged> inbox_forget(const sqlite::Database& db,
                                                  std::string_view consumer);
/// Lets a consumer go on with a broker that is not as it left it (Inbox::check_place).
[[nodiscard]] sqlite::Status inbox_accept(const sqlite::Database& db, std::string_view consumer);

/// What is wrong, one sentence each; empty: nothing.
[[nodiscard]] sqlite::Answer<std::vector<std::string>> inbox_verify(const sqlite::Database& db);

}  // namespace ferry::consumer
