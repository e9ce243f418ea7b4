#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>

#include "ferry/sqlite/api.hpp"

namespace ferry::test {

/// While it lives, connections that are opened write the log of any "saga.db" through it, and their
/// disk can be full.
///
/// Threads   full() any; one of these at a time. Lifetime: outlives the connections.
class FullDisk {
public:
    FullDisk() : real_(sqlite3_vfs_find(nullptr)), own_(*real_) {
        full_ = false;
        own_.zName = "full-disk";
        own_.pAppData = real_;
        own_.xOpen = &open;
        sqlite3_vfs_register(&own_, 1);
    }
    ~FullDisk() {
        sqlite3_vfs_unregister(&own_);
        sqlite3_vfs_register(real_, 1);
    }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;

    void full(bool yes) { full_ = yes; }

private:
    /// The real file, but for one of its methods.
    static int open(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* file, int flags,
                    int* out) {
        auto* const real = static_cast<sqlite3_vfs*>(vfs->pAppData);
        const int done = real->xOpen(real, name, file, flags, out);
        if (done != SQLITE_OK || name == nullptr) return done;
        if (!std::string_view(name).ends_with("saga.db-wal")) return done;
        std::call_once(once_, [file] {
            original_ = file->pMethods;
            methods_ = *original_;
            methods_.xWrite = &write;
        });
        if (file->pMethods == original_) file->pMethods = &methods_;
        return done;
    }
    static int write(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 at) {
        if (full_) return SQLITE_FULL;
        return original_->xWrite(file, bytes, count, at);
    }

    sqlite3_vfs* const real_;
    sqlite3_vfs own_;
    static inline std::atomic<bool> full_{false};
    static inline std::once_flag once_;
    static inline const sqlite3_io_methods* original_ = nullptr;
    static inline sqlite3_io_methods methods_{};
};

}  // namespace ferry::test
