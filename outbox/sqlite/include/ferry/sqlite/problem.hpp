#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ferry/platform/result.hpp"

namespace ferry::sqlite {

/// Longest part of an error text that comes from SQLite or from the database.
inline constexpr std::size_t problem_text_bytes_max = 300;
/// Oldest SQLite that is supported: it has RETURNING, generated JSON checks and sqlite3_txn_state.
inline constexpr int version_min = 3'037'000;

/// At most `bytes_max` of it, with "..." if something was cut off; never in the middle of a
/// UTF-8 letter.
[[nodiscard]] std::string bounded(std::string_view text,
                                  std::size_t bytes_max = problem_text_bytes_max);

/// Grouped by what the caller must do next.
enum class Kind : std::uint8_t {
    refused,     // bad or over-limit request; correct it and ask again
    not_found,   // no such row, table or file
    conflict,    // somebody else was first (an expected version, a lease)
    busy,        // another connection holds the lock; wait and retry the whole transaction
    snapshot,    // a read transaction cannot become a writer any more: roll back, BEGIN IMMEDIATE
    constraint,  // the database refused the row
    read_only,   // the file or the connection cannot be written
    full,        // the disk is full; free space and retry
    io,          // the operating system refused to read or write
    corrupt,     // the file is damaged or no database; stop and tell the operator
    schema,      // tables are missing, older, newer or altered
    failed,      // anything else: out of memory, interrupted, misuse
};
[[nodiscard]] const char* name_of(Kind kind);

/// Why an operation on a database failed, for programs and for people.
struct Problem {
    Kind kind = Kind::failed;
    int code = 0;      // SQLite's extended result code; 0: it was not SQLite that refused
    std::string text;  // one sentence; what comes from SQLite is cut at problem_text_bytes_max

    /// The same for callers of other rooms.
    [[nodiscard]] Error error() const;
    /// A later attempt may succeed without anybody changing anything.
    [[nodiscard]] bool retryable() const { return kind == Kind::busy || kind == Kind::snapshot; }
};

/// A T or a Problem.
template <class T>
using Answer = ResultOr<T, Problem>;

/// For functions that give nothing back.
using Status = Answer<Done>;
inline Status ok_status() {
    return Status(Done{});
}

}  // namespace ferry::sqlite
