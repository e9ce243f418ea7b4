#include "ferry/sqlite/problem.hpp"

#include <string>

#include "ferry/sqlite/database.hpp"

namespace ferry::sqlite {

const char* name_of(Kind kind) {
    switch (kind) {
        case Kind::refused:
            return "refused";
        case Kind::not_found:
            return "not found";
        case Kind::conflict:
            return "conflict";
        case Kind::busy:
            return "busy";
        case Kind::snapshot:
            return "snapshot";
        case Kind::constraint:
            return "constraint";
        case Kind::read_only:
            return "read-only";
        case Kind::full:
            return "full";
        case Kind::io:
            return "I/O";
        case Kind::corrupt:
            return "corrupt";
        case Kind::schema:
            return "schema";
        case Kind::failed:
            break;
    }
    return "failed";
}

Error Problem::error() const {
    switch (kind) {
        case Kind::refused:
        case Kind::constraint:
            return {Errc::rejected, 0, 0, "refused by the database"};
        case Kind::not_found:
            return {Errc::not_found, 0, 0, "not in the database"};
        case Kind::conflict:
            return {Errc::conflict, 0, 0, "somebody else was first"};
        case Kind::busy:
        case Kind::snapshot:
            return {Errc::would_block, 0, 0, "the database is locked"};
        case Kind::full:
            return {Errc::out_of_space, 0, 0, "the disk of the database is full"};
        case Kind::corrupt:
            return {Errc::corrupt, 0, 0, "the database is damaged"};
        case Kind::schema:
            return {Errc::rejected, 0, 0, "the tables in the database do not fit"};
        case Kind::read_only:
        case Kind::io:
        case Kind::failed:
            break;
    }
    return {Errc::io_failed, 0, 0, "the database failed"};
}

Kind kind_of(int code) {
    if (code == SQLITE_BUSY_SNAPSHOT) return Kind::snapshot;
    switch (code & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
        case SQLITE_PROTOCOL:
            return Kind::busy;
        case SQLITE_CONSTRAINT:
        case SQLITE_TOOBIG:
        case SQLITE_MISMATCH:
            return Kind::constraint;
        case SQLITE_READONLY:
        case SQLITE_PERM:
            return Kind::read_only;
        case SQLITE_FULL:
            return Kind::full;
        case SQLITE_IOERR:
        case SQLITE_CANTOPEN:
        case SQLITE_NOLFS:
            return Kind::io;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return Kind::corrupt;
        case SQLITE_SCHEMA:
            return Kind::schema;
        default:
            return Kind::failed;
    }
}

std::string bounded(std::string_view text, std::size_t bytes_max) {
    if (text.size() <= bytes_max) return std::string(text);
    std::size_t end = bytes_max;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
    return std::string(text.substr(0, end)) + "...";
}

std::string quoted(std::string_view identifier) {
    std::string out = "\"";
    for (const char c : identifier) {
        if (c == '"') out += '"';
        out += c;
    }
    return out + '"';
}

namespace {

/// What the reader should do, where SQLite's own words do not say it.
const char* advice(Kind kind) {
    switch (kind) {
        case Kind::busy:
            return "; another connection is writing: retry the transaction, or raise busy_timeout";
        case Kind::snapshot:
            return "; the transaction began with a read and another connection has written since: "
                   "roll back and begin with BEGIN IMMEDIATE";
        case Kind::full:
            return "; free some space and retry";
        default:
            return "";
    }
}

}  // namespace

Problem problem_of(sqlite3* handle, int code, std::string_view doing) {
    Problem out;
    out.code = code;
    const char* said = nullptr;
    if (handle != nullptr) {
        const int extended = sqlite3_extended_errcode(handle);
        if ((extended & 0xff) == (code & 0xff)) {
            out.code = extended;
            said = sqlite3_errmsg(handle);
        }
    }
    if (said == nullptr) said = sqlite3_errstr(code);
    out.kind = kind_of(out.code);
    out.text = std::string(doing) + ": " + bounded(said) + advice(out.kind);
    return out;
}

}  // namespace ferry::sqlite
