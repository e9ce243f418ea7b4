// Every call that SQLite makes to its files fails, for an application with an outbox, its relay and
// a consumer with an inbox: nothing is half done, what was promised holds, and all of it goes on
// when the disk works again.

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>

#include "application.hpp"
#include "test_vfs.hpp"

namespace ferry::sweep {
namespace {

namespace fs = std::filesystem;
using outbox::FileCall;
using outbox::TestVfs;

constexpr std::uint64_t calls_max = 2'000;

struct Fault {
    FileCall call;
    int code;
    const char* name;
};
constexpr Fault faults[] = {
    {FileCall::write, SQLITE_IOERR_WRITE, "a write fails"},
    {FileCall::write, SQLITE_FULL, "the disk is full"},
    {FileCall::sync, SQLITE_IOERR_FSYNC, "a sync fails"},
    {FileCall::read, SQLITE_IOERR_READ, "a read fails"},
    {FileCall::truncate, SQLITE_IOERR_TRUNCATE, "a truncation fails"},
    {FileCall::lock, SQLITE_BUSY, "a lock is not given"},
    {FileCall::lock, SQLITE_IOERR_LOCK, "locking fails"},
};

class DatabaseSweep : public testing::Test {
protected:
    DatabaseSweep() {
        const std::string parent =
            fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path().string();
        std::string name = parent + "/ferry-sweep-XXXXXX";
        folder_ = ::mkdtemp(name.data());
    }
    ~DatabaseSweep() override {
        vfs_.use_for_all(false);
        fs::remove_all(folder_);
    }

    /// Whether there was such a call to fail.
    bool one(const Fault& fault, const char* suffix, std::uint64_t at, bool all) {
        fs::remove_all(folder_);
        fs::create_directory(folder_);
        std::set<unsigned> orders;
        std::set<unsigned> applied;
        Application application(folder_, [&](char what, unsigned number) {
            if (what == 'o') orders.insert(number);
            if (what == 'e') applied.insert(number);
        });
        vfs_.use_for_all(true);
        application.make();
        std::uint64_t struck = 0;
        {
            const auto inbox = application.inbox();
            vfs_.fail(fault.call, suffix, at, fault.code, all);
            application.place_order(1);
            application.place_order(2);
            application.relay_once();
            application.apply(*inbox, 1);
            application.apply(*inbox, 2);
            struck = vfs_.heal();
            EXPECT_TRUE(application.has_effects_of(applied)) << "LOST an effect";
            for (unsigned i = 1; i <= Application::messages; ++i) application.apply(*inbox, i);
        }
        application.place_order(3);
        EXPECT_EQ(orders.count(3), 1U) << "it does not go on when the disk works again";
        vfs_.use_for_all(false);
        EXPECT_EQ(application.judge(orders), "");
        return struck > 0;
    }

    std::uint64_t sweep() {
        std::uint64_t cases = 0;
        for (const Fault& fault : faults) {
            for (const char* suffix : {"-wal", "app.db", "inbox.db"}) {
                for (const bool all : {false, true}) {
                    // SQLite itself asks for a lock again for seconds.
                    if (all && fault.call == FileCall::lock) continue;
                    for (std::uint64_t at = 1; at < calls_max && !HasFailure(); ++at) {
                        SCOPED_TRACE(std::string(fault.name) + ", " + suffix + ", call " +
                                     std::to_string(at) + (all ? " and all behind it" : ""));
                        if (!one(fault, suffix, at, all)) break;
                        ++cases;
                    }
                }
            }
        }
        return cases;
    }

    TestVfs vfs_;
    std::string folder_;
};

TEST_F(DatabaseSweep, of_every_call_to_its_files_leaves_nothing_half_done) {
    constexpr std::uint64_t goal = 280;
    const std::uint64_t cases = sweep();
    std::cout << "evidence: failed database calls reached " << cases << " of " << goal << std::endl;
    EXPECT_GE(cases * 10, goal * 8);
}

}  // namespace
}  // namespace ferry::sweep
