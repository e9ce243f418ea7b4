// What every FileSystem promises, asked of the operating system's and of the simulated one.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>

#include "ferry/platform/file.hpp"
#include "ferry/platform/sim/sim_file_system.hpp"

namespace ferry {
namespace {

using Open = FileSystem::Open;

class TempDirectory {
public:
    TempDirectory() {
        std::string pattern = (std::filesystem::temp_directory_path() / "ferry-XXXXXX").string();
        path_ = mkdtemp(pattern.data());
    }
    ~TempDirectory() { std::filesystem::remove_all(path_); }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

class AnyFileSystem : public testing::TestWithParam<bool> {
protected:
    AnyFileSystem() {
        const bool simulated = GetParam();
        if (simulated) {
            files_ = std::make_unique<sim::SimFileSystem>();
            EXPECT_TRUE(files_->make_directory("dir").ok());
            directory_ = "dir";
        } else {
            files_ = make_posix_file_system();
            directory_ = temp_.path();
        }
    }
    [[nodiscard]] std::string at(const std::string& name) const { return directory_ + "/" + name; }
    [[nodiscard]] std::unique_ptr<File> open(const std::string& name, Open mode) {
        auto opened = files_->open(at(name), mode);
        EXPECT_TRUE(opened.ok()) << name;
        return std::move(opened).value();
    }
    [[nodiscard]] std::string text_of(const std::string& name) {
        auto bytes = read_file(*files_, at(name), 1 << 20);
        EXPECT_TRUE(bytes.ok()) << name;
        return std::string(as_text(bytes.value()));
    }

    TempDirectory temp_;
    std::string directory_;
    std::unique_ptr<FileSystem> files_;
};

INSTANTIATE_TEST_SUITE_P(Both, AnyFileSystem, testing::Bool(),
                         [](const auto& which) { return which.param ? "simulated" : "posix"; });

TEST_P(AnyFileSystem, gives_back_what_was_written_and_zeros_where_nothing_was) {
    const auto file = open("a", Open::create);
    ASSERT_TRUE(file->write_at(4, as_bytes("tail")).ok());
    ASSERT_TRUE(file->write_at(0, as_bytes("h")).ok());
    EXPECT_EQ(file->size().value(), 8U);
    EXPECT_EQ(text_of("a"), std::string("h\0\0\0tail", 8));
    ASSERT_TRUE(file->sync_data().ok());
    std::byte out[16];
    EXPECT_EQ(file->read_at(6, out).value(), 2U);
    EXPECT_EQ(file->read_at(8, out).value(), 0U);
    EXPECT_EQ(file->read_at(1ULL << 40, out).value(), 0U);
}

TEST_P(AnyFileSystem, reads_without_the_disk_all_of_it_or_nothing) {
    const auto file = open("a", Open::create);
    ASSERT_TRUE(file->write_at(0, as_bytes("abcdef")).ok());
    std::byte out[4];
    const auto got = file->read_cached_at(1, out);  // who cannot tell says no
    if (got.ok()) {
        EXPECT_EQ(as_text(Bytes(out).first(got.value())), "bcde");
    } else {
        EXPECT_EQ(got.error().code, Errc::would_block);
    }
    EXPECT_EQ(file->read_cached_at(4, out).error().code, Errc::would_block);
    EXPECT_EQ(file->read_cached_at(1ULL << 40, out).error().code, Errc::would_block);
    EXPECT_EQ(file->read_cached_at(UINT64_MAX, out).error().code, Errc::would_block);
}

TEST_P(AnyFileSystem, cuts_and_grows_files) {
    const auto file = open("a", Open::create);
    ASSERT_TRUE(file->write_at(0, as_bytes("abcdef")).ok());
    ASSERT_TRUE(file->truncate(3).ok());
    ASSERT_TRUE(file->truncate(5).ok());
    EXPECT_EQ(text_of("a"), std::string("abc\0\0", 5));
}

TEST_P(AnyFileSystem, tells_missing_files_from_existing_ones) {
    EXPECT_EQ(files_->open(at("no"), Open::read).error().code, Errc::not_found);
    EXPECT_EQ(files_->open(at("no"), Open::write).error().code, Errc::not_found);
    EXPECT_EQ(files_->open(at("no/way"), Open::create).error().code, Errc::not_found);
    EXPECT_EQ(files_->remove(at("no")).error().code, Errc::not_found);
    EXPECT_EQ(files_->rename(at("no"), at("way")).error().code, Errc::not_found);
    EXPECT_EQ(files_->list(at("no")).error().code, Errc::not_found);
    EXPECT_EQ(files_->sync_directory(at("no")).error().code, Errc::not_found);
    static_cast<void>(open("yes", Open::create_exclusive));
    EXPECT_EQ(files_->open(at("yes"), Open::create_exclusive).error().code, Errc::conflict);
    EXPECT_EQ(files_->make_directory(at("yes")).error().code, Errc::conflict);
}

TEST_P(AnyFileSystem, refuses_to_write_through_a_file_opened_for_reading) {
    ASSERT_TRUE(open("a", Open::create)->write_at(0, as_bytes("x")).ok());
    const auto file = open("a", Open::read);
    EXPECT_EQ(file->write_at(0, as_bytes("y")).error().code, Errc::io_failed);
    EXPECT_FALSE(file->truncate(0).ok());
    EXPECT_EQ(text_of("a"), "x");
}

TEST_P(AnyFileSystem, replaces_the_target_of_a_rename_and_keeps_open_files_alive) {
    const auto old_file = open("old", Open::create);
    ASSERT_TRUE(old_file->write_at(0, as_bytes("old")).ok());
    const auto new_file = open("new", Open::create);
    ASSERT_TRUE(new_file->write_at(0, as_bytes("new")).ok());
    ASSERT_TRUE(files_->rename(at("new"), at("old")).ok());
    EXPECT_EQ(text_of("old"), "new");
    ASSERT_TRUE(new_file->write_at(3, as_bytes("er")).ok());
    EXPECT_EQ(text_of("old"), "newer");
    std::byte out[3];
    EXPECT_EQ(old_file->read_at(0, out).value(), 3U);
    EXPECT_EQ(as_text(out), "old");
    EXPECT_EQ(files_->list(directory_).value(), std::vector<std::string>{"old"});
}

TEST_P(AnyFileSystem, lists_names_sorted_and_without_those_of_other_directories) {
    ASSERT_TRUE(files_->make_directory(at("sub")).ok());
    ASSERT_TRUE(files_->make_directory(at("sub")).ok()) << "twice is fine";
    for (const char* name : {"c", "a", "sub/inner", "b"})
        static_cast<void>(open(name, Open::create));
    ASSERT_TRUE(files_->remove(at("b")).ok());
    EXPECT_EQ(files_->list(directory_).value(), (std::vector<std::string>{"a", "c", "sub"}));
    EXPECT_EQ(files_->list(at("sub")).value(), std::vector<std::string>{"inner"});
    EXPECT_TRUE(files_->sync_directory(directory_).ok());
}

TEST_P(AnyFileSystem, lets_only_one_hold_a_lock) {
    auto first = files_->lock(at("LOCK"), "pid 1");
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(files_->lock(at("LOCK"), "pid 2").error().code, Errc::conflict);
    EXPECT_TRUE(files_->lock(at("OTHER"), "pid 2").ok());
    { const auto dropped = std::move(first).value(); }
    EXPECT_TRUE(files_->lock(at("LOCK"), "pid 3").ok());
    const auto names = files_->list(directory_).value();
    EXPECT_EQ(names.front(), "LOCK");
}

TEST_P(AnyFileSystem, reports_the_space_there_is) {
    const auto space = files_->space(directory_);
    ASSERT_TRUE(space.ok());
    EXPECT_GT(space.value().total_bytes, 0U);
    EXPECT_LE(space.value().available_bytes, space.value().total_bytes);
    EXPECT_EQ(files_->space(at("no")).error().code, Errc::not_found);
}

TEST_P(AnyFileSystem, reads_whole_files_but_none_larger_than_allowed) {
    ASSERT_TRUE(open("a", Open::create)->write_at(0, as_bytes("12345")).ok());
    EXPECT_EQ(read_file(*files_, at("a"), 5).value().size(), 5U);
    EXPECT_EQ(read_file(*files_, at("a"), 4).error().code, Errc::rejected);
    EXPECT_EQ(read_file(*files_, at("b"), 4).error().code, Errc::not_found);
}

TEST_P(AnyFileSystem, refuses_offsets_that_no_file_has_without_taking_memory) {
    const auto file = open("a", Open::create);
    EXPECT_EQ(file->write_at(~0ULL - 1, as_bytes("xyz")).error().code, Errc::out_of_space);
    EXPECT_EQ(file->truncate(1ULL << 63).error().code, Errc::out_of_space);
    EXPECT_EQ(file->size().value(), 0U);
}

TEST(PosixFileSystem, keeps_its_files_to_the_owner_and_out_of_child_processes) {
    const TempDirectory temp;
    const auto files = make_posix_file_system();
    const std::string path = temp.path() + "/a";
    const auto file = files->open(path, Open::create);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(files->make_directory(temp.path() + "/d").ok());
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
    ASSERT_EQ(stat((temp.path() + "/d").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        if (std::filesystem::read_symlink(entry, gone) != path) continue;
        std::ifstream details("/proc/self/fdinfo/" + entry.path().filename().string());
        const std::string text((std::istreambuf_iterator<char>(details)), {});
        const std::size_t flags = text.find("flags:");
        ASSERT_NE(flags, std::string::npos);
        EXPECT_NE(std::stoul(text.substr(flags + 6), nullptr, 8) & 02000000U, 0U) << "O_CLOEXEC";
        return;
    }
    FAIL() << "the open file is not among our descriptors";
}

TEST(PosixFileSystem, writes_the_note_of_a_lock_over_that_of_the_last_holder) {
    const TempDirectory temp;
    const auto files = make_posix_file_system();
    const std::string path = temp.path() + "/LOCK";
    { ASSERT_TRUE(files->lock(path, "a rather long note of an earlier process").ok()); }
    const auto held = files->lock(path, "pid 7");
    ASSERT_TRUE(held.ok());
    EXPECT_EQ(as_text(read_file(*files, path, 100).value()), "pid 7");
}

TEST(PosixFileSystem, calls_a_full_disk_out_of_space) {
    const auto files = make_posix_file_system();
    const auto full = files->open("/dev/full", Open::write);
    if (!full.ok()) GTEST_SKIP() << "no /dev/full here";
    const Status written = full.value()->write_at(0, as_bytes("x"));
    EXPECT_EQ(written.error().code, Errc::out_of_space);
    EXPECT_EQ(written.error().os_errno, ENOSPC);
}

// F17
TEST(PosixFileSystem, calls_a_lack_of_descriptors_what_passes_by_itself) {
    const TempDirectory directory;
    const auto owned = make_posix_file_system();
    FileSystem& files = *owned;
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit none = before;
    none.rlim_cur = 0;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    const auto refused = files.open(directory.path() + "/a", Open::create);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::out_of_space);
    EXPECT_TRUE(files.open(directory.path() + "/a", Open::create).ok());
}

TEST(PosixFileSystem, says_that_a_directory_is_not_a_file) {
    const TempDirectory temp;
    const auto files = make_posix_file_system();
    EXPECT_EQ(files->open(temp.path(), Open::write).error().code, Errc::io_failed);
    EXPECT_FALSE(read_file(*files, temp.path(), 1 << 20).ok());
}

}  // namespace
}  // namespace ferry
