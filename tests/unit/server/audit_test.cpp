#include "audit.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace ferry::server {
namespace {

namespace fs = std::filesystem;

class AuditFile : public testing::Test {
protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "ferry-audit-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
        path_ = (folder_ / "audit").string();
    }
    void TearDown() override { fs::remove_all(folder_); }
    static std::size_t lines_in(const std::string& path) {
        std::ifstream file(path);
        std::size_t count = 0;
        for (std::string line; std::getline(file, line);) ++count;
        return count;
    }

    fs::path folder_;
    std::string path_;
};

TEST(AuditLine, IsOneObjectWhateverStrangersCallThemselves) {
    const std::string line = audit_line({.user = "al\"ice\n\\",
                                         .from = "192.0.2.1:5",
                                         .action = "sign_in",
                                         .result = "failed",
                                         .detail = "\x01\xff"},
                                        1'700'000'000'123);
    EXPECT_EQ(line,
              "{\"time\":\"2023-11-14T22:13:20.123Z\",\"action\":\"sign_in\",\"result\":\"failed\","
              "\"user\":\"al\\\"ice\\u000a\\\\\",\"from\":\"192.0.2.1:5\","
              "\"detail\":\"\\u0001\\u00ff\"}");
    EXPECT_LT(
        audit_line({.user = std::string(100'000, 'x'), .from = {}, .action = {}, .result = {}}, 0)
            .size(),
        1000U);
}

TEST_F(AuditFile, HasEveryLineWhenItIsClosedAndGoesOnAfterwards) {
    std::string wrong;
    for (int run = 1; run <= 2; ++run) {
        auto log = AuditLog::open(path_, &wrong);
        ASSERT_NE(log, nullptr) << wrong;
        for (int i = 0; i < 1000; ++i) log->write("line");
        log.reset();
        EXPECT_EQ(lines_in(path_), 1000U * static_cast<unsigned>(run));
    }
}

TEST_F(AuditFile, IsMadeAnewAfterSomebodyMovedTheOldOneAway) {
    std::string wrong;
    auto log = AuditLog::open(path_, &wrong);
    ASSERT_NE(log, nullptr) << wrong;
    log->write("old");
    log.reset();
    log = AuditLog::open(path_, &wrong);
    fs::rename(path_, path_ + ".1");
    log->reopen();
    log->write("new");
    log.reset();
    EXPECT_EQ(lines_in(path_ + ".1") + lines_in(path_), 2U);
    EXPECT_EQ(lines_in(path_), 1U);
}

TEST_F(AuditFile, ThatCannotBeOpenedIsNamed) {
    std::string wrong;
    EXPECT_EQ(AuditLog::open((folder_ / "no" / "such").string(), &wrong), nullptr);
    EXPECT_NE(wrong.find("audit.file"), std::string::npos);
}

}  // namespace
}  // namespace ferry::server
