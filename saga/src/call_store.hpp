#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ferry/sqlite/database.hpp"
#include "machine.hpp"

namespace ferry::saga {

/// An HTTP call that a saga wants: written in the transaction that changes the saga, gone in the
/// one that has its answer.
struct HttpCall {
    std::int64_t key = 0;
    std::string saga;
    std::string step;
    Op op = Op::act;
    std::uint32_t attempt = 0;
    std::uint64_t token = 0;
    std::string definition;  // NAME/VERSION
    bool retriable = false;
    std::string trace;  // W3C traceparent
    std::string method;
    std::string url;
    std::string body;
    std::uint64_t due_ms = 0;  // its attempt is over then
    /// It may have been made before.
    bool repeated = false;
};

/// The table of calls, on one connection. Each call belongs to the orchestrator with its fence, and
/// to nobody when that is no member any more.
///
/// Threads   That of the connection. Lifetime: the database outlives it.
/// Requires  an open transaction for everything that writes.
class CallStore {
public:
    explicit CallStore(const sqlite::Database& database) : database_(database) {}
    sqlite::Status prepare();

    sqlite::Status add(const HttpCall& call, std::uint64_t fence);
    /// Whether add() was called since the last time this was asked.
    [[nodiscard]] bool take_added() { return std::exchange(added_, false); }

    /// In order of their keys, behind `after`.
    sqlite::Answer<std::vector<HttpCall>> of(std::uint64_t fence, std::int64_t after,
                                             std::size_t at_most);
    /// Removes it. False: it is not there, or belongs to somebody else now.
    sqlite::Answer<bool> take(std::int64_t key, std::uint64_t fence);
    sqlite::Answer<bool> any_orphan();
    /// Takes over what belongs to nobody. What belonged to one that is gone may have been made.
    sqlite::Status adopt(std::uint64_t fence);

private:
    const sqlite::Database& database_;
    bool added_ = false;
    sqlite::Statement add_, of_, take_, orphan_;
};

}  // namespace ferry::saga
