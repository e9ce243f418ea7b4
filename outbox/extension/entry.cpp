#include <string>

#include "extension.hpp"

extern "C" {
SQLITE_EXTENSION_INIT1
}

namespace {

int load(sqlite3* handle, char** problem, const sqlite3_api_routines* table) {
    SQLITE_EXTENSION_INIT2(table);
    if (sqlite3_libversion_number() < ferry::sqlite::version_min) {
        *problem = sqlite3_mprintf("ferry_outbox needs SQLite 3.37.0 or later; this is %s",
                                   sqlite3_libversion());
        return SQLITE_ERROR;
    }
    const int code = ferry::outbox::extension::register_functions(handle);
    // The WAL hook may run until the connection is closed: the code must stay.
    return code == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : code;
}

}  // namespace

// SQLite looks for the first name, then for one made of the file's name.
extern "C" __attribute__((visibility("default"))) int sqlite3_extension_init(
    sqlite3* handle, char** problem, const sqlite3_api_routines* table) {
    return load(handle, problem, table);
}

extern "C" __attribute__((visibility("default"))) int sqlite3_ferryoutbox_init(
    sqlite3* handle, char** problem, const sqlite3_api_routines* table) {
    return load(handle, problem, table);
}
