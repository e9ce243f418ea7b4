#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <mutex>

namespace ferry::test {

/// Lets one SQL statement of this process fail: the n-th that is prepared (as if it were not
/// allowed), or the n-th that runs (interrupted before it has done anything; inside a transaction a
/// change that is interrupted takes the transaction with it). BEGIN and COMMIT do not fail when
/// run.
///
/// Threads   any, after watch(). Lifetime: connections that are watched must not run statements
///           after it.
class FailingStatements {
public:
    enum class When : std::uint8_t { prepared, run };

    FailingStatements() = default;
    ~FailingStatements() { pass(); }
    FailingStatements(const FailingStatements&) = delete;
    FailingStatements& operator=(const FailingStatements&) = delete;

    void watch(sqlite3* connection) {
        sqlite3_set_authorizer(connection, on_prepare, this);
        sqlite3_trace_v2(connection, SQLITE_TRACE_STMT, on_run, this);
    }
    /// Also every connection that is opened from now on. At most one object at a time.
    void watch_new() {
        watching_ = this;
        sqlite3_auto_extension(entry());
    }
    void watch_no_more() {
        sqlite3_cancel_auto_extension(entry());
        watching_ = nullptr;
    }

    /// From here on the `nth` one fails, counted from 1, or so many in a row from that one on.
    void fail(When when, std::uint32_t nth, std::uint32_t times = 1) {
        const std::lock_guard lock(mutex_);
        when_ = when;
        left_ = nth;
        times_ = times;
        failed_ = false;
    }
    void pass() {
        const std::lock_guard lock(mutex_);
        times_ = 0;
    }
    /// Whether it was reached.
    [[nodiscard]] bool failed() const {
        const std::lock_guard lock(mutex_);
        return failed_;
    }

private:
    static void (*entry())() {
        // What sqlite3_auto_extension asks for is the type of no function that it calls.
        return reinterpret_cast<void (*)()>(&FailingStatements::on_open);
    }
    static int on_open(sqlite3* connection, char**, const sqlite3_api_routines*) {
        if (watching_ != nullptr) watching_->watch(connection);
        return SQLITE_OK;
    }
    static int on_prepare(void* self, int action, const char*, const char*, const char*,
                          const char*) {
        // Once for a statement: each has one of these first, and some have more than one action.
        const bool counts = action == SQLITE_SELECT || action == SQLITE_INSERT ||
                            action == SQLITE_UPDATE || action == SQLITE_DELETE ||
                            action == SQLITE_PRAGMA || action == SQLITE_TRANSACTION ||
                            action == SQLITE_SAVEPOINT;
        return counts && static_cast<FailingStatements*>(self)->hit(When::prepared) ? SQLITE_DENY
                                                                                    : SQLITE_OK;
    }
    static int on_run(unsigned, void* self, void* statement, void*) {
        if (static_cast<FailingStatements*>(self)->hit(When::run)) {
            sqlite3_interrupt(sqlite3_db_handle(static_cast<sqlite3_stmt*>(statement)));
        }
        return 0;
    }
    bool hit(When when) {
        const std::lock_guard lock(mutex_);
        if (times_ == 0 || when != when_ || --left_ > 0) return false;
        left_ = 1;
        --times_;
        failed_ = true;
        return true;
    }

    static inline FailingStatements* watching_ = nullptr;

    mutable std::mutex mutex_;
    When when_ = When::run;
    std::uint32_t left_ = 0;   // until the first that fails
    std::uint32_t times_ = 0;  // that fail yet
    bool failed_ = false;
};

inline const char* name_of(FailingStatements::When when) {
    return when == FailingStatements::When::run ? "run" : "prepared";
}

}  // namespace ferry::test
