// What a power cut leaves of a consumer's database, tried for every moment and many disks.
#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

#include "ferry/platform/sim/crash_states.hpp"
#include "inbox_rig.hpp"
#include "test_vfs.hpp"

namespace ferry::consumer {
namespace {

using outbox::TestVfs;
using test::InboxRig;

constexpr std::int64_t messages = 7;

class InboxPowerCut : public testing::Test {
protected:
    static Handled effect(Effects& effects) {
        effects.publish({.routing_key = "receipts", .payload = as_bytes("r")});
        return InboxRig::effect(effects);
    }
    static Incoming message(std::uint64_t i) {
        return test::make_incoming({"x", test::outbox_id(i)}, i);
    }
    /// Applies messages one after another; after each, its ack would be sent.
    void work() {
        rig_.database.reset();
        vfs_.record(rig_.directory);
        vfs_.use_for_all(true);
        {
            const auto inbox = rig_.inbox();
            for (std::uint64_t i = 1; i <= std::uint64_t{messages}; ++i) {
                ASSERT_EQ(inbox->apply(message(i), effect).kind, Handled::Kind::done);
                acked_.push_back(vfs_.operations());
            }
        }
        vfs_.use_for_all(false);
    }
    [[nodiscard]] std::uint64_t acked_at(std::size_t point) const {
        return static_cast<std::uint64_t>(std::upper_bound(acked_.begin(), acked_.end(), point) -
                                          acked_.begin());
    }
    static std::int64_t number(const sqlite::Database& database, const char* sql) {
        const auto out = database.integer(sql);
        EXPECT_TRUE(out.ok()) << sql << ": " << (out.ok() ? "" : out.error().text);
        return out.ok() ? out.value().value_or(-1) : -1;
    }
    /// The machine is on again: what was acked does not come any more, everything else does.
    void go_on(const std::string& path, std::uint64_t acked) {
        auto opened = Inbox::open(path, InboxRig::named("c"));
        ASSERT_TRUE(opened.ok()) << opened.error().text;
        Inbox& inbox = *opened.value();
        for (std::uint64_t i = acked + 1; i <= std::uint64_t{messages}; ++i) {
            ASSERT_EQ(inbox.apply(message(i), effect).kind, Handled::Kind::done);
        }
        const auto looked = sqlite::Database::open(path, sqlite::Database::Access::read_write);
        ASSERT_TRUE(looked.ok());
        const auto& database = looked.value();
        EXPECT_EQ(number(database, "SELECT count(*) FROM effect"), messages);
        EXPECT_EQ(number(database, "SELECT count(DISTINCT id) FROM effect"), messages);
        EXPECT_EQ(number(database, "SELECT count(*) FROM ferry_outbox"), messages);
        EXPECT_EQ(number(database, "SELECT max(id) FROM ferry_outbox"), messages);
        EXPECT_EQ(database.text("PRAGMA integrity_check").value().value_or(""), "ok");
    }

    InboxRig rig_{true};
    TestVfs vfs_;
    std::vector<std::size_t> acked_;  // operations after which message i was acked
};

// G30 G31 G32
TEST_F(InboxPowerCut, LeavesEffectMarkAndOutgoingMessageTogetherAndNothingAckedIsLost) {
    work();
    std::uint64_t tried = 0;
    for (const auto profile : {sim::Profile::weakest, sim::Profile::ext4_ordered}) {
        sim::CrashLimits limits;
        limits.exhaustive_max = 3;
        limits.samples = 3;
        limits.states_max = 8;
        sim::CrashStates states(vfs_.journal(), profile, limits);
        for (std::size_t point = 0; point <= vfs_.operations(); ++point) {
            states.at(point, [&](const sim::DiskImage& image, std::uint64_t) {
                const std::string place = rig_.directory + "/after";
                std::filesystem::remove_all(place);
                ASSERT_TRUE(image.save(place));
                go_on(place + "/app.db", acked_at(point));
                ++tried;
            });
            if (HasFailure()) FAIL() << "at operation " << point;
        }
    }
    EXPECT_GT(tried, 100U);
}

// G30
TEST_F(InboxPowerCut, AMessageWhoseCommitFailsIsNotDone) {
    rig_.database.reset();
    vfs_.use_for_all(true);
    const auto inbox = rig_.inbox();
    vfs_.fail(outbox::FileCall::sync, "-wal", 1, SQLITE_IOERR_FSYNC);
    EXPECT_EQ(inbox->apply(message(1), InboxRig::effect).kind, Handled::Kind::later);
    EXPECT_EQ(vfs_.heal(), 1U);
    const auto again = inbox->apply(message(1), InboxRig::effect);
    EXPECT_EQ(again.kind, Handled::Kind::done);
    EXPECT_FALSE(again.duplicate);
    vfs_.use_for_all(false);
    const auto looked = sqlite::Database::open(rig_.path, sqlite::Database::Access::read_write);
    ASSERT_TRUE(looked.ok());
    EXPECT_EQ(number(looked.value(), "SELECT count(*) FROM effect"), 1);
}

}  // namespace
}  // namespace ferry::consumer
