#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "ferry/secure/users.hpp"

namespace ferry::secure {
namespace {

namespace fs = std::filesystem;

class UsersFile : public testing::Test {
protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "ferry-users-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
        path_ = (folder_ / "users").string();
    }
    void TearDown() override { fs::remove_all(folder_); }

    fs::path folder_;
    std::string path_;
};

Users two() {
    Users users;
    User& alice = users["alice"];
    alice.verifier = ScramVerifier::of("right");
    alice.configure = {"orders.*"};
    alice.write = {"orders.*", "audit"};
    alice.connections_max = 4;
    alice.publish_rate = 500;
    User& root = users["root@host"];
    root.has_password = false;
    root.admin = true;
    return users;
}

TEST_F(UsersFile, IsReadAsItWasWritten) {
    ASSERT_EQ(save_users(path_, two()), "");
    const auto read = load_users(path_);
    ASSERT_TRUE(read.ok()) << read.error();
    EXPECT_EQ(read.value().at("alice").write, two().at("alice").write);
    EXPECT_TRUE(read.value().at("alice").verifier.fits("right"));
    EXPECT_EQ(read.value().at("alice").connections_max, 4U);
    EXPECT_EQ(read.value().at("alice").publish_rate, 500U);
    EXPECT_TRUE(read.value().at("root@host").admin);
    EXPECT_FALSE(read.value().at("root@host").has_password);
    struct stat info {};
    ASSERT_EQ(stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST_F(UsersFile, IsRefusedIfOthersMayReadIt) {
    ASSERT_EQ(save_users(path_, two()), "");
    ASSERT_EQ(chmod(path_.c_str(), 0640), 0);
    const auto read = load_users(path_);
    ASSERT_FALSE(read.ok());
    EXPECT_NE(read.error().find("chmod 600"), std::string::npos);
}

TEST_F(UsersFile, StampChangesWithTheFile) {
    EXPECT_EQ(file_stamp(path_), "");
    ASSERT_EQ(save_users(path_, two()), "");
    const std::string before = file_stamp(path_);
    ASSERT_EQ(save_users(path_, two()), "");
    EXPECT_NE(file_stamp(path_), before) << "another file has the name now";
}

TEST_F(UsersFile, SecretIsTheFirstLineOfAFileThatOnlyItsOwnerReads) {
    std::ofstream(path_) << "pass word\r\nmore\n";
    ASSERT_EQ(chmod(path_.c_str(), 0600), 0);
    std::string wrong;
    EXPECT_EQ(read_secret_file(path_, wrong), "pass word");
    ASSERT_EQ(chmod(path_.c_str(), 0644), 0);
    EXPECT_FALSE(read_secret_file(path_, wrong).has_value());
    EXPECT_EQ(wrong.find("pass word"), std::string::npos);
}

TEST(Users, AreRefusedWithTheLineAndWithoutWhatStandsInIt) {
    const std::string secret = "SCRAM-SHA-256$notaverifier";
    const std::pair<const char*, const char*> cases[] = {
        {"", "empty"},
        {"user alice\n", "line 1"},
        {"ferrymq-users 2\n", "line 1"},
        {"ferrymq-users 1\n  admin\n", "line 2"},
        {"ferrymq-users 1\nuser alice\n  password SCRAM-SHA-256$notaverifier\n", "line 3"},
        {"ferrymq-users 1\nuser alice\nuser alice\n", "line 3"},
        {"ferrymq-users 1\nuser al ice\n", "line 2"},
        {"ferrymq-users 1\nuser alice\n  read a b/c\n", "line 3"},
        {"ferrymq-users 1\nuser alice\n  admin yes\n", "line 3"},
        {"ferrymq-users 1\nuser alice\n  connections -1\n", "line 3"},
    };
    for (const auto& [text, where] : cases) {
        const auto read = parse_users(text);
        ASSERT_FALSE(read.ok()) << text;
        EXPECT_NE(read.error().find(where), std::string::npos) << read.error();
        EXPECT_EQ(read.error().find(secret), std::string::npos);
    }
}

}  // namespace
}  // namespace ferry::secure
