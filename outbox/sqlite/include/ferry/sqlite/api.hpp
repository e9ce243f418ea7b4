#pragma once

// The one place that decides how SQLite is called. Code that is linked into a program calls the
// library. Code inside a loadable extension calls through the table that the loading program hands
// over: that program may carry an SQLite of its own, and two copies must not touch one connection.
#ifdef FERRY_SQLITE_EXTENSION
#include <sqlite3ext.h>
extern "C" {
SQLITE_EXTENSION_INIT3
}
#else
#include <sqlite3.h>
#endif
