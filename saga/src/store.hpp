#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "call_store.hpp"
#include "ferry/sqlite/database.hpp"
#include "machine.hpp"

namespace ferry::saga {

/// A definition as it is stored. Never changes, and is kept as long as the store.
struct Stored {
    std::int64_t key = 0;
    std::string hash;
    Definition definition;
};

/// The tables of an orchestrator, on one connection.
///
/// Threads   That of the connection. Lifetime: the database outlives it.
/// Requires  an open transaction for everything that writes.
class Store {
public:
    static sqlite::Answer<std::unique_ptr<Store>> open(const sqlite::Database& database);

    /// This connection's rows are checked before they are made: the CHECKs of the tables, which are
    /// for others, cost a fifth of a message's INSERT. Left alone where the application's own
    /// triggers could write rows of its own through this connection.
    sqlite::Status trust_own_rows();

    // ---- definitions ----
    /// conflict: this name and version are stored, and differ.
    sqlite::Answer<const Stored*> add_definition(const Definition& definition,
                                                 std::uint64_t now_ms);
    /// Null: there is none. Version 0: the newest.
    sqlite::Answer<const Stored*> find_definition(std::string_view name, std::uint32_t version);
    sqlite::Answer<const Stored*> definition(std::int64_t key);
    /// One of each name. What cannot be read is left out.
    sqlite::Answer<std::vector<const Stored*>> newest_definitions();

    // ---- instances ----
    struct Row {
        std::int64_t key = 0;
        const Stored* stored = nullptr;
        std::uint64_t due_ms = 0;              // as stored: not later than the instance's
        SagaState state = SagaState::running;  // as stored
        Instance instance;
    };
    /// corrupt: the row cannot be read. False: there is none.
    sqlite::Answer<bool> load(std::string_view id, Row& row);
    /// False: the id is taken.
    sqlite::Answer<bool> insert(Row& row);
    /// conflict: somebody changed it since it was loaded, which one transaction cannot see: a bug.
    sqlite::Status update(Row& row, std::uint64_t loaded_revision);
    /// Only the time at which it is looked at again.
    sqlite::Status put_off(const Row& row);

    struct Due {
        std::string id;
        std::uint64_t due_ms = 0;
    };
    /// Those of member `rank` of `members`, the longest overdue first.
    sqlite::Answer<std::vector<Due>> due(std::uint64_t now_ms, std::uint32_t rank,
                                         std::uint32_t members, std::uint32_t at_most);
    /// When the next of anybody is due; 0: none.
    sqlite::Answer<std::uint64_t> next_due();

    sqlite::Status audit(std::string_view saga, std::uint64_t at_ms, std::string_view who,
                         std::string_view what, std::string_view note);

    [[nodiscard]] CallStore& calls() { return calls_; }

    /// A savepoint; undone by the destructor unless released. Its statements are prepared: there is
    /// one for every saga that starts.
    class Point {
    public:
        explicit Point(Store& store) : store_(&store) {}
        ~Point() { static_cast<void>(undo()); }
        Point(Point&& other) noexcept : store_(std::exchange(other.store_, nullptr)) {}
        Point(const Point&) = delete;
        Point& operator=(const Point&) = delete;
        Point& operator=(Point&&) = delete;
        sqlite::Status release();
        sqlite::Status undo();

    private:
        Store* store_;
    };
    /// Requires  an open transaction, and no other Point that lives.
    sqlite::Answer<Point> point();

    // ---- members ----
    /// Takes a new fence, and forgets members whose lease has ended.
    sqlite::Answer<std::uint64_t> join(std::string_view owner, std::uint64_t now_ms,
                                       std::uint64_t until_ms);
    /// False: somebody took the membership away.
    sqlite::Answer<bool> renew(std::string_view owner, std::uint64_t fence, std::uint64_t now_ms,
                               std::uint64_t until_ms);
    sqlite::Answer<bool> is_member(std::string_view owner, std::uint64_t fence);
    sqlite::Status leave(std::string_view owner, std::uint64_t fence);
    struct Rank {
        std::uint32_t rank = 0;
        std::uint32_t members = 1;
    };
    sqlite::Answer<Rank> rank_of(std::string_view owner);
    /// The latest time that a member had when it joined or renewed; 0: none did yet. Whoever
    /// changes sagas counts on from there: the wall clock may have been set back since.
    sqlite::Answer<std::uint64_t> latest_ms();

    /// Removes sagas that ended before; how many.
    sqlite::Answer<std::uint64_t> purge(std::uint64_t before_ms, std::uint32_t at_most);
    sqlite::Answer<std::string> queue();
    [[nodiscard]] const sqlite::Database& database() const { return database_; }

private:
    explicit Store(const sqlite::Database& database) : database_(database), calls_(database) {}
    sqlite::Status prepare();
    sqlite::Answer<const Stored*> keep(sqlite::Statement& row);
    sqlite::Status read(sqlite::Statement& from, Row& row);
    sqlite::Status note_time(std::uint64_t now_ms);

    const sqlite::Database& database_;
    CallStore calls_;
    std::map<std::int64_t, std::unique_ptr<Stored>> definitions_;
    std::map<std::pair<std::string, std::uint32_t>, std::int64_t> keys_;
    std::string body_;
    sqlite::Statement load_, insert_, update_, update_body_, put_off_, due_, next_due_, audit_,
        member_;
    sqlite::Statement savepoint_, release_, roll_back_;
    sqlite::Statement by_key_, by_version_, newest_;
};

}  // namespace ferry::saga
