// What a failed operation on a database means to people and to other rooms.

#include "ferry/sqlite/problem.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "ferry/sqlite/database.hpp"

namespace ferry::sqlite {
namespace {

TEST(Problem, EveryKindHasANameAndAnErrorThatSaysWhatToDoNext) {
    const struct {
        Kind kind;
        Errc code;
    } cases[] = {
        {Kind::refused, Errc::rejected},     {Kind::not_found, Errc::not_found},
        {Kind::conflict, Errc::conflict},    {Kind::busy, Errc::would_block},
        {Kind::snapshot, Errc::would_block}, {Kind::constraint, Errc::rejected},
        {Kind::read_only, Errc::io_failed},  {Kind::full, Errc::out_of_space},
        {Kind::io, Errc::io_failed},         {Kind::corrupt, Errc::corrupt},
        {Kind::schema, Errc::rejected},      {Kind::failed, Errc::io_failed},
    };
    std::set<std::string> names;
    for (const auto& one : cases) {
        const Problem problem{one.kind, 0, "text"};
        EXPECT_EQ(problem.error().code, one.code) << name_of(one.kind);
        names.insert(name_of(one.kind));
        EXPECT_EQ(problem.retryable(), one.code == Errc::would_block) << name_of(one.kind);
    }
    EXPECT_EQ(names.size(), std::size(cases)) << "two kinds have one name";
}

TEST(Problem, CodesOfSqliteAreGrouped) {
    EXPECT_EQ(kind_of(SQLITE_BUSY), Kind::busy);
    EXPECT_EQ(kind_of(SQLITE_LOCKED_SHAREDCACHE), Kind::busy);
    EXPECT_EQ(kind_of(SQLITE_BUSY_SNAPSHOT), Kind::snapshot);
    EXPECT_EQ(kind_of(SQLITE_CONSTRAINT_UNIQUE), Kind::constraint);
    EXPECT_EQ(kind_of(SQLITE_TOOBIG), Kind::constraint);
    EXPECT_EQ(kind_of(SQLITE_READONLY_DBMOVED), Kind::read_only);
    EXPECT_EQ(kind_of(SQLITE_FULL), Kind::full);
    EXPECT_EQ(kind_of(SQLITE_IOERR_FSYNC), Kind::io);
    EXPECT_EQ(kind_of(SQLITE_CANTOPEN), Kind::io);
    EXPECT_EQ(kind_of(SQLITE_NOTADB), Kind::corrupt);
    EXPECT_EQ(kind_of(SQLITE_SCHEMA), Kind::schema);
    EXPECT_EQ(kind_of(SQLITE_MISUSE), Kind::failed);
}

TEST(Problem, TextsAreCutBetweenLetters) {
    EXPECT_EQ(bounded("short", 5), "short");
    EXPECT_EQ(bounded("longer", 5), "longe...");
    EXPECT_EQ(bounded("gr\xc3\xbc\xc3\x9f", 3), "gr...");
}

}  // namespace
}  // namespace ferry::sqlite
