#include "ferry/platform/sim/sim_file_system.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace ferry::sim {
namespace {

using Open = FileSystem::Open;

std::unique_ptr<File> open(SimFileSystem& files, const std::string& path) {
    return std::move(files.open(path, Open::create)).value();
}

std::string text_of(FileSystem& files, const std::string& path) {
    return std::string(as_text(read_file(files, path, 1 << 20).value()));
}

TEST(SimFileSystem, fails_the_call_it_was_told_to_and_no_other) {
    SimFileSystem files;
    const auto file = open(files, "a");
    files.inject({.at = 2, .kind = Fault::Kind::io_error, .only = Call::write});
    EXPECT_TRUE(file->write_at(0, as_bytes("one")).ok());
    EXPECT_TRUE(file->sync_data().ok());
    EXPECT_EQ(file->write_at(0, as_bytes("two")).error().code, Errc::io_failed);
    EXPECT_EQ(text_of(files, "a"), "one");
    EXPECT_TRUE(file->write_at(0, as_bytes("six")).ok());
    EXPECT_EQ(files.faults_struck(), 1U);
}

TEST(SimFileSystem, can_fail_from_one_call_on) {
    SimFileSystem files;
    files.inject({.at = 2, .count = ~0ULL, .only = Call::open, .path_contains = "b"});
    EXPECT_TRUE(files.open("b1", Open::create).ok());
    EXPECT_TRUE(files.open("a1", Open::create).ok());
    EXPECT_FALSE(files.open("b2", Open::create).ok());
    EXPECT_FALSE(files.open("b3", Open::create).ok());
    files.clear_faults();
    EXPECT_TRUE(files.open("b3", Open::create).ok());
}

TEST(SimFileSystem, leaves_half_of_a_short_write_behind) {
    SimFileSystem files;
    const auto file = open(files, "a");
    files.inject({.kind = Fault::Kind::short_write, .only = Call::write});
    const Status written = file->write_at(0, as_bytes("123456"));
    EXPECT_EQ(written.error().code, Errc::out_of_space);
    EXPECT_EQ(written.error().position, 3U);
    EXPECT_EQ(text_of(files, "a"), "123");
}

TEST(SimFileSystem, does_not_fail_what_takes_no_space_when_there_is_none) {
    SimFileSystem files;
    const auto file = open(files, "a");
    ASSERT_TRUE(file->write_at(0, as_bytes("x")).ok());
    files.inject({.count = ~0ULL, .kind = Fault::Kind::out_of_space});
    EXPECT_EQ(text_of(files, "a"), "x");
    EXPECT_EQ(file->write_at(0, as_bytes("y")).error().code, Errc::out_of_space);
    EXPECT_TRUE(file->truncate(0).ok());
    EXPECT_EQ(files.open("b", Open::create).error().code, Errc::out_of_space);
    EXPECT_TRUE(files.remove("a").ok());
}

TEST(SimFileSystem, is_full_when_the_capacity_is_used_up_and_has_room_again_after_a_removal) {
    SimFileSystem files;
    files.set_capacity(10);
    const auto a = open(files, "a");
    const auto b = open(files, "b");
    ASSERT_TRUE(a->write_at(0, as_bytes("123456")).ok());
    const Status second = b->write_at(0, as_bytes("123456"));
    EXPECT_EQ(second.error().code, Errc::out_of_space);
    EXPECT_EQ(text_of(files, "b"), "1234") << "what fits is written";
    EXPECT_EQ(files.space(".").value().available_bytes, 0U);
    EXPECT_TRUE(a->write_at(0, as_bytes("abcdef")).ok()) << "writing over takes no space";
    ASSERT_TRUE(files.remove("a").ok());
    EXPECT_EQ(files.space(".").value().available_bytes, 6U);
    EXPECT_TRUE(b->write_at(0, as_bytes("abcdef")).ok());
}

TEST(SimFileSystem, cannot_read_broken_sectors_until_they_are_written) {
    SimFileSystem files;
    const auto file = open(files, "a");
    ASSERT_TRUE(file->write_at(0, std::vector<std::byte>(1024)).ok());
    files.break_sectors("a", 512, 512);
    std::byte out[600];
    EXPECT_TRUE(file->read_at(0, MutableBytes(out, 512)).ok());
    const auto got = file->read_at(0, out);
    EXPECT_EQ(got.error().code, Errc::io_failed);
    EXPECT_EQ(got.error().position, 512U);
    ASSERT_TRUE(file->write_at(512, std::vector<std::byte>(512)).ok());
    EXPECT_TRUE(file->read_at(0, out).ok());
}

TEST(SimFileSystem, records_failed_syncs_as_failed) {
    SimFileSystem files;
    const auto file = open(files, "a");
    files.inject({.only = Call::sync_data});
    EXPECT_FALSE(file->sync_data().ok());
    EXPECT_TRUE(file->sync_data().ok());
    const auto& operations = files.journal().operations;
    ASSERT_EQ(operations.size(), 3U);
    EXPECT_TRUE(operations[1].failed);
    EXPECT_FALSE(operations[2].failed);
    EXPECT_EQ(describe(operations[1]), "sync_data a (inode 1) FAILED");
}

TEST(SimFileSystem, starts_from_an_image_and_never_changes_it) {
    DiskImage image;
    image.directories.insert("d");
    image.put("d/a", {std::byte{'x'}});
    const std::uint64_t before = image.hash();
    SimFileSystem files(image);
    EXPECT_EQ(files.image().hash(), before);
    ASSERT_TRUE(open(files, "d/a")->write_at(0, as_bytes("y")).ok());
    EXPECT_NE(files.image().hash(), before);
    EXPECT_EQ(image.hash(), before);
    EXPECT_EQ(files.journal().start.hash(), before);
}

TEST(SimFileSystem, keeps_lock_files_out_of_the_image) {
    SimFileSystem files;
    const auto lock = files.lock("LOCK", "note");
    ASSERT_TRUE(lock.ok());
    EXPECT_EQ(files.list(".").value(), std::vector<std::string>{"LOCK"});
    EXPECT_TRUE(files.image().files.empty());
    EXPECT_TRUE(files.journal().operations.empty());
}

TEST(DiskImage, has_the_same_hash_only_with_the_same_names_and_bytes) {
    const auto image_with = [](const std::string& name, std::size_t size) {
        DiskImage image;
        image.put(name, std::vector<std::byte>(size));
        return image;
    };
    EXPECT_EQ(image_with("a", 512).hash(), image_with("a", 512).hash());
    EXPECT_NE(image_with("a", 512).hash(), image_with("b", 512).hash());
    EXPECT_NE(image_with("a", 512).hash(), image_with("a", 513).hash());
    EXPECT_NE(image_with("a", 0).hash(), DiskImage{}.hash());
    DiskImage flipped = image_with("a", 512);
    flipped.flip_bit("a", 511, 7);
    EXPECT_NE(flipped.hash(), image_with("a", 512).hash());
    flipped.zero_sector("a", 0);
    EXPECT_EQ(flipped.hash(), image_with("a", 512).hash());
}

TEST(DiskImage, swaps_whole_sectors) {
    DiskImage image;
    std::vector<std::byte> bytes(1536);
    bytes[0] = std::byte{1};
    bytes[1024] = std::byte{2};
    image.put("a", bytes);
    image.swap_sectors("a", 0, 2);
    EXPECT_EQ(image.bytes("a")[0], std::byte{2});
    EXPECT_EQ(image.bytes("a")[1024], std::byte{1});
}

TEST(Paths, are_the_same_however_they_are_spelt) {
    EXPECT_EQ(normal_path("./a//b/"), "a/b");
    EXPECT_EQ(normal_path("/"), "/");
    EXPECT_EQ(normal_path(""), ".");
    EXPECT_EQ(normal_path("."), ".");
    EXPECT_EQ(parent_path("a/b"), "a");
    EXPECT_EQ(parent_path("a"), ".");
    EXPECT_EQ(parent_path("/a"), "/");
}

}  // namespace
}  // namespace ferry::sim
