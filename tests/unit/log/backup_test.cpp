#include "ferry/log/backup.hpp"

#include "log_fixture.hpp"

namespace ferry::log {
namespace {

class BackupTest : public LogTest {
protected:
    Result<CommitLog::BackupResult> back_up(CommitLog& log, const std::string& target) {
        std::optional<Result<CommitLog::BackupResult>> result;
        log.backup(target,
                   [&](Result<CommitLog::BackupResult> r) { result.emplace(std::move(r)); });
        while (log.housekeep_once()) {
        }
        EXPECT_TRUE(result.has_value());
        return result.has_value() ? *result : Result<CommitLog::BackupResult>(Error{});
    }
    std::vector<Place> some_history(CommitLog& log) {
        std::vector<Place> places;
        for (int i = 0; i < 30; ++i) {
            places.push_back(put(log, "record " + std::to_string(i) + std::string(3000, 'b')));
            settle(log);
            if (i == 10 || i == 20) checkpoint(log, "state " + std::to_string(i));
        }
        return places;
    }
    const std::string& target() {
        target_ = root_ + "/backup";
        return target_;
    }
    std::string target_;
};

// G22
TEST_F(BackupTest, ABackupOpensLikeTheLogItWasTakenFrom) {
    std::vector<std::string> expected;
    std::vector<Place> places;
    {
        auto log = open();
        places = some_history(*log);
        log->compact(places[0].segment, {{places[1].position, {}}}, {});
        settle(*log);
        put(*log, "not written yet");
        auto result = back_up(*log, target());
        ASSERT_TRUE(result.ok()) << result.error().what;
        EXPECT_EQ(result.value().upto, log->durable());
        EXPECT_GT(result.value().files, 4U);
        std::string text;
        EXPECT_TRUE(verify_backup(files(), target(), &text).ok()) << text;
        EXPECT_NE(text.find("whole"), std::string::npos);
    }
    auto log = try_open_at(target());
    ASSERT_TRUE(log.ok()) << error_text_;
    EXPECT_EQ(as_text(log.value()->recovered().checkpoint), "state 20");
    EXPECT_EQ(bodies(*log.value()).size(), 9U);
    auto block = log.value()->read_block(places[1].position, 1);
    ASSERT_TRUE(block.ok());
    EXPECT_EQ(as_text(block.value().records[0].body).substr(0, 9), "record 1b");
    put(*log.value(), "life goes on");
    settle(*log.value());
    EXPECT_EQ(log.value()->pending_bytes(), 0U);
}

// G13, G22
TEST_F(BackupTest, RotIsNotBackedUp) {
    auto log = open();
    const auto places = some_history(*log);
    flip(path(names(".seg").front()), format::segment_header_bytes + places[1].position + 100);
    auto result = back_up(*log, target());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, Errc::corrupt);
    EXPECT_EQ(result.error().position, places[1].position - format::batch_header_bytes);
    EXPECT_TRUE(std::filesystem::is_empty(target())) << "nothing is left that looks like a backup";
    EXPECT_FALSE(log->failed());
}

TEST_F(BackupTest, ADirectoryWithSomethingInItIsLeftAlone) {
    auto log = open();
    put(*log, "x");
    settle(*log);
    std::filesystem::create_directory(target());
    set_contents(target() + "/precious", "data");
    auto result = back_up(*log, target());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, Errc::rejected);
    EXPECT_EQ(contents(target() + "/precious"), "data");
}

TEST_F(BackupTest, VerifyNoticesEveryKindOfDamage) {
    {
        auto log = open();
        some_history(*log);
        ASSERT_TRUE(back_up(*log, target()).ok());
    }
    std::string text;
    for (const auto& entry : std::filesystem::directory_iterator(target())) {
        const std::string file = entry.path().string();
        const std::string good = contents(file);
        if (good.empty()) continue;
        flip(file, good.size() / 2);
        EXPECT_FALSE(verify_backup(files(), target(), &text).ok()) << file;
        EXPECT_FALSE(text.empty());
        set_contents(file, good.substr(0, good.size() - 1));
        EXPECT_FALSE(verify_backup(files(), target(), &text).ok()) << file;
        std::filesystem::remove(file);
        EXPECT_FALSE(verify_backup(files(), target(), &text).ok()) << file;
        set_contents(file, good);
        EXPECT_TRUE(verify_backup(files(), target(), &text).ok()) << text;
    }
    std::filesystem::remove(target() + "/MANIFEST");
    EXPECT_EQ(verify_backup(files(), target(), &text).error().code, Errc::not_found);
}

}  // namespace
}  // namespace ferry::log
