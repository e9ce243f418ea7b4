// O14: what a power cut leaves of an outbox, tried for every moment and many disks.
#include <filesystem>
#include <set>

#include <gmock/gmock.h>

#include "ferry/platform/sim/crash_states.hpp"
#include "ferry/sqlite/wal_sync.hpp"
#include "outbox_fixture.hpp"
#include "test_vfs.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Database;

/// What had been promised after so many operations on the disk.
struct Promise {
    std::size_t operations = 0;
    std::int64_t committed = 0;  // messages up to here were reported as committed
    std::int64_t published = 0;  // and up to here given to the broker
};

class PowerCutTest : public OutboxTest {
protected:
    PowerCutTest() {
        {
            const auto plain = connect();
            open(plain);
        }
        vfs_.record(directory_);
    }

    void note(std::int64_t committed, std::int64_t published) {
        promises_.push_back({vfs_.operations(), committed, published});
    }

    /// A relay that publishes what it can read, in the order of ids, and then marks it.
    void relay_once(const Database& database, bool sync) {
        const std::int64_t newest =
            number(database, "SELECT coalesce(max(id), 0) FROM ferry_outbox");
        if (newest == 0) return;
        if (sync) {
            const auto synced = sqlite::sync_wal(database);
            ASSERT_TRUE(synced.ok()) << synced.error().text;
        }
        published_ = newest;
        note(committed_, published_);
    }
    void mark(const Database& database) {
        const std::string upto = std::to_string(published_);
        run(database, "BEGIN IMMEDIATE; DELETE FROM ferry_outbox WHERE id <= " + upto +
                          "; UPDATE ferry_outbox_state SET value = " + upto +
                          " WHERE name = 'last_sent'; COMMIT");
    }

    /// An application that commits orders with messages, while a relay publishes now and then.
    void work(const char* synchronous, bool relay_syncs, int orders) {
        auto writing = vfs_.open(path_);
        auto relaying = vfs_.open(path_);
        const auto writer = Database::borrow(writing.get());
        const auto relay = Database::borrow(relaying.get());
        run(writer, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=12");
        run(relay, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0");
        Outbox outbox = open(writer);
        run(writer, std::string("PRAGMA synchronous=") + synchronous);
        for (int i = 1; i <= orders; ++i) {
            const std::string row = std::to_string(i);
            run(writer, "BEGIN IMMEDIATE; INSERT INTO orders VALUES (" + row + ", 'o" + row + "')");
            const auto id = outbox.enqueue(hello(row));
            ASSERT_TRUE(id.ok());
            run(writer, "COMMIT");
            committed_ = id.value();
            note(committed_, published_);
            if (i % 2 == 0) relay_once(relay, relay_syncs);
            if (i % 3 == 0) mark(relay);
        }
    }

    struct Findings {
        std::uint64_t states = 0;
        std::uint64_t lost = 0;    // committed, and gone
        std::uint64_t ghosts = 0;  // published, and the order was never placed
        std::uint64_t reused = 0;  // an id that was published would be given again
        std::uint64_t broken = 0;  // order without message, message without order, or no database
    };

    Findings cut_everywhere(sim::Profile profile) {
        sim::CrashLimits limits;
        limits.exhaustive_max = 3;
        limits.samples = 4;
        limits.states_max = 12;
        sim::CrashStates states(vfs_.journal(), profile, limits);
        Findings out;
        std::size_t next = 0;
        Promise promised;
        for (std::size_t point = 0; point <= vfs_.operations(); ++point) {
            while (next < promises_.size() && promises_[next].operations <= point) {
                promised = promises_[next++];
            }
            states.at(point, [&](const sim::DiskImage& image, std::uint64_t) {
                ++out.states;
                look_at(image, promised, out);
            });
        }
        return out;
    }

    void look_at(const sim::DiskImage& image, const Promise& promised, Findings& out) {
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
        const std::int64_t orders = number(database, "SELECT coalesce(max(id), 0) FROM orders");
        const std::int64_t given =
            number(database,
                   "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = "
                   "'ferry_outbox'");
        const std::int64_t waiting = number(database, "SELECT count(*) FROM ferry_outbox");
        const std::int64_t sent =
            number(database, "SELECT value FROM ferry_outbox_state WHERE name = 'last_sent'");
        // In this run order n has message n.
        if (orders < promised.committed) ++out.lost;
        if (orders < promised.published) ++out.ghosts;
        if (given < promised.published) ++out.reused;
        if (given != orders || waiting != orders - sent ||
            text(database, "PRAGMA integrity_check") != "ok") {
            ++out.broken;
        }
    }

    TestVfs vfs_;
    std::vector<Promise> promises_;
    std::int64_t committed_ = 0;
    std::int64_t published_ = 0;
};

// G42
TEST_F(PowerCutTest, O14_WithSynchronousFullNothingIsLostAndNothingUnreal) {
    work("FULL", false, 7);
    for (const auto profile : {sim::Profile::weakest, sim::Profile::ext4_ordered}) {
        const Findings found = cut_everywhere(profile);
        EXPECT_GT(found.states, 100U);
        EXPECT_EQ(found.lost, 0U);
        EXPECT_EQ(found.ghosts, 0U);
        EXPECT_EQ(found.reused, 0U);
        EXPECT_EQ(found.broken, 0U);
    }
}

TEST_F(PowerCutTest, O14_ARelayThatSyncsBeforePublishingMakesNoGhostsOfAWriterThatDoesNotSync) {
    work("NORMAL", true, 7);
    for (const auto profile : {sim::Profile::weakest, sim::Profile::ext4_ordered}) {
        const Findings found = cut_everywhere(profile);
        EXPECT_EQ(found.ghosts, 0U);
        EXPECT_EQ(found.reused, 0U);
        EXPECT_EQ(found.broken, 0U);
    }
}

// The test is tested: without either, messages are published whose orders a power cut takes back.
TEST_F(PowerCutTest, O14_WithoutEitherThereAreGhosts) {
    work("NORMAL", false, 7);
    const Findings found = cut_everywhere(sim::Profile::weakest);
    EXPECT_GT(found.lost, 0U);
    EXPECT_GT(found.ghosts, 0U);
    EXPECT_GT(found.reused, 0U);
    EXPECT_EQ(found.broken, 0U);
}

TEST_F(PowerCutTest, SyncingNeedsAWriteAheadLog) {
    const auto memory = Database::open(":memory:", Database::Access::create);
    EXPECT_FALSE(sqlite::sync_wal(memory.value()).ok());
    auto connection = vfs_.open(path_);
    const auto database = Database::borrow(connection.get());
    EXPECT_GE(number(database, "SELECT count(*) FROM orders"), 0);
    EXPECT_TRUE(sqlite::sync_wal(database).ok());
    vfs_.fail(FileCall::sync, "-wal", 1, SQLITE_IOERR_FSYNC);
    EXPECT_THAT(said(sqlite::sync_wal(database), sqlite::Kind::io), testing::HasSubstr("sync"));
}

}  // namespace
}  // namespace ferry::outbox
