#include "ferry/sqlite/wal_sync.hpp"

namespace ferry::sqlite {

Status sync_wal(const Database& database, const char* schema) {
    sqlite3_file* file = nullptr;
    // In WAL mode this is the log, opened by SQLite's own file layer: its locks stay as they are,
    // which a descriptor of our own would endanger when it is closed.
    const int found = sqlite3_file_control(database.handle(), schema, SQLITE_FCNTL_JOURNAL_POINTER,
                                           static_cast<void*>(&file));
    if (found != SQLITE_OK || file == nullptr || file->pMethods == nullptr) {
        return Problem{Kind::refused, found,
                       "the database has no write-ahead log open: it is not in WAL mode, or this "
                       "connection has not read from it yet"};
    }
    const int synced = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
    if (synced != SQLITE_OK) {
        return Problem{kind_of(synced), synced,
                       "cannot sync the write-ahead log: " + std::string(sqlite3_errstr(synced))};
    }
    return ok_status();
}

}  // namespace ferry::sqlite
