// O14, R11 and R12 at the relay's own store: what it may publish, and what is left when the disk
// fails or the power goes.
#include <gmock/gmock.h>

#include <filesystem>
#include <set>

#include "ferry/platform/sim/crash_states.hpp"
#include "outbox_fixture.hpp"
#include "store.hpp"
#include "test_vfs.hpp"

namespace ferry::outbox::relay {
namespace {

using sqlite::Database;

constexpr std::uint32_t rows_per_step = 4;
constexpr std::uint64_t lease_until = 1'000'000;

class StorePowerCutTest : public OutboxTest {
protected:
    StorePowerCutTest() {
        const auto plain = connect();
        (void)open(plain);
    }

    Store open_store() {
        vfs_.use_for_all(true);
        auto opened = Store::open(path_);
        vfs_.use_for_all(false);
        EXPECT_TRUE(opened.ok()) << opened.error().text;
        Store store = std::move(opened).value();
        const auto taken = store.take_lease(store.lease().value(), "test", lease_until);
        EXPECT_TRUE(taken.ok()) << taken.error().text;
        return store;
    }
    void place_order(const Database& writer, Outbox& outbox) {
        const std::string row = std::to_string(++orders_);
        run(writer, "BEGIN IMMEDIATE; INSERT INTO orders VALUES (" + row + ", 'o" + row + "')");
        ASSERT_TRUE(outbox.enqueue(hello(row)).ok());
        run(writer, "COMMIT");
    }
    /// Takes what the store shows for published.
    void publish(Store& store) {
        const auto newest = store.max_id();
        ASSERT_TRUE(newest.ok());
        const auto read = store.read(published_, newest.value(), 100, [&](const RowView& row) {
            published_ = row.id;
            return true;
        });
        ASSERT_TRUE(read.ok()) << read.error().text;
        promises_.emplace_back(vfs_.operations(), published_);
    }
    sqlite::Answer<WriteDone> mark(Store& store, std::uint32_t rows_max) {
        IdRanges finished;
        finished.add({1, published_});
        WriteWish wish;
        wish.finished = &finished;
        wish.rows_max = rows_max;
        wish.confirmed_upto = published_;
        return store.write(wish);
    }
    /// An application whose connection does not sync its commits, and a relay beside it.
    void work() {
        vfs_.record(directory_);
        auto writing = vfs_.open(path_);
        const auto writer = Database::borrow(writing.get());
        run(writer, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=12");
        Outbox outbox = open(writer);
        run(writer, "PRAGMA synchronous=NORMAL");
        Store store = open_store();
        for (int i = 1; i <= 9; ++i) {
            place_order(writer, outbox);
            if (i % 2 == 0) publish(store);
            if (i % 3 == 0) {
                const auto marked = mark(store, rows_per_step);
                ASSERT_TRUE(marked.ok()) << marked.error().text;
            }
        }
    }

    struct Findings {
        std::uint64_t states = 0;
        std::uint64_t ghosts = 0;  // published, and the order was never placed
        std::uint64_t reused = 0;  // an id that was published would be given again
        std::uint64_t broken = 0;
    };
    Findings cut_everywhere(sim::Profile profile) {
        sim::CrashLimits limits;
        limits.exhaustive_max = 3;
        limits.samples = 4;
        limits.states_max = 12;
        sim::CrashStates states(vfs_.journal(), profile, limits);
        Findings out;
        std::size_t next = 0;
        std::uint64_t published = 0;
        for (std::size_t point = 0; point <= vfs_.operations(); ++point) {
            while (next < promises_.size() && promises_[next].first <= point) {
                published = promises_[next++].second;
            }
            states.at(point, [&](const sim::DiskImage& image, std::uint64_t) {
                ++out.states;
                look_at(image, static_cast<std::int64_t>(published), out);
            });
        }
        return out;
    }
    void look_at(const sim::DiskImage& image, std::int64_t published, Findings& out) {
        const std::string place = directory_ + "/after";
        std::filesystem::remove_all(place);
        ASSERT_TRUE(image.save(place));
        const auto opened = Database::open(place + "/app.db", Database::Access::read_write);
        if (!opened.ok()) {
            ++out.broken;
            return;
        }
        const Database& database = opened.value();
        sqlite3_db_config(database.handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
        if (number(database, "SELECT coalesce(max(id), 0) FROM orders") < published) ++out.ghosts;
        if (number(database,
                   "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = "
                   "'ferry_outbox'") < published) {
            ++out.reused;
        }
        if (text(database, "PRAGMA integrity_check") != "ok") ++out.broken;
    }

    TestVfs vfs_;
    std::vector<std::pair<std::size_t, std::uint64_t>> promises_;  // operations, published
    std::uint64_t published_ = 0;
    int orders_ = 0;
};

// G42 G50
TEST_F(StorePowerCutTest, O14_TheRelaysOwnReadsShowOnlyWhatAPowerCutCannotTakeBack) {
    work();
    ASSERT_GT(published_, 6U);
    for (const auto profile : {sim::Profile::weakest, sim::Profile::ext4_ordered}) {
        const Findings found = cut_everywhere(profile);
        EXPECT_GT(found.states, 100U);
        EXPECT_EQ(found.ghosts, 0U);
        EXPECT_EQ(found.reused, 0U);
        EXPECT_EQ(found.broken, 0U);
    }
}

// G55
TEST_F(StorePowerCutTest, R11_MarksThatMeetAFullOrFailingDiskChangeNothingAndAreRepeated) {
    auto writing = vfs_.open(path_);
    const auto writer = Database::borrow(writing.get());
    run(writer, "PRAGMA synchronous=FULL");
    Outbox outbox = open(writer);
    Store store = open_store();
    for (int i = 0; i < 20; ++i) place_order(writer, outbox);
    publish(store);
    for (const auto& [call, code] :
         {std::pair{FileCall::write, SQLITE_FULL}, std::pair{FileCall::write, SQLITE_IOERR_WRITE},
          std::pair{FileCall::sync, SQLITE_IOERR_FSYNC}}) {
        vfs_.fail(call, "-wal", 1, code, true);
        EXPECT_FALSE(mark(store, 100).ok());
        EXPECT_FALSE(mark(store, 100).ok());
        EXPECT_GE(vfs_.heal(), 2U);
        EXPECT_EQ(pending(writer), 20);
    }
    const auto marked = mark(store, 100);
    ASSERT_TRUE(marked.ok()) << marked.error().text;
    EXPECT_EQ(marked.value().rows, 20U);
    EXPECT_EQ(pending(writer), 0);
}

// G55
TEST_F(StorePowerCutTest, R12_MarksGoInStepsAndACutBetweenThemLosesNoUnsentRow) {
    vfs_.record(directory_);
    auto writing = vfs_.open(path_);
    const auto writer = Database::borrow(writing.get());
    run(writer, "PRAGMA synchronous=FULL");
    Outbox outbox = open(writer);
    Store store = open_store();
    for (int i = 0; i < 10; ++i) place_order(writer, outbox);
    publish(store);
    place_order(writer, outbox);  // committed and not sent
    const std::size_t before = vfs_.operations();
    IdRanges finished;
    finished.add({1, published_});
    while (!finished.empty()) {
        WriteWish wish;
        wish.finished = &finished;
        wish.rows_max = rows_per_step;
        wish.confirmed_upto = published_;
        const auto done = store.write(wish);
        ASSERT_TRUE(done.ok()) << done.error().text;
        EXPECT_LE(done.value().rows, rows_per_step);
        for (const Range& range : done.value().marked) finished.remove(range);
    }
    EXPECT_EQ(pending(writer), 1);

    sim::CrashStates states(vfs_.journal(), sim::Profile::weakest, {});
    std::set<std::int64_t> left;
    for (std::size_t point = before; point <= vfs_.operations(); ++point) {
        states.at(point, [&](const sim::DiskImage& image, std::uint64_t) {
            const std::string place = directory_ + "/after";
            std::filesystem::remove_all(place);
            ASSERT_TRUE(image.save(place));
            const auto opened = Database::open(place + "/app.db", Database::Access::read_write);
            ASSERT_TRUE(opened.ok());
            left.insert(pending(opened.value()));
            EXPECT_EQ(number(opened.value(), "SELECT max(id) FROM ferry_outbox"), 11);
        });
    }
    EXPECT_THAT(left, testing::ElementsAre(1, 3, 7, 11));
}

}  // namespace
}  // namespace ferry::outbox::relay
