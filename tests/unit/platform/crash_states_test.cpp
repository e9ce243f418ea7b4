// The tester is tested: right protocols must survive every crash, and the classical wrong ones must
// be caught, each under the weakest profile that can catch it.

#include "ferry/platform/sim/crash_states.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ferry/platform/sim/sim_file_system.hpp"

namespace ferry::sim {
namespace {

using Open = FileSystem::Open;

std::unique_ptr<File> open(FileSystem& files, const std::string& path) {
    return std::move(files.open(path, Open::create)).value();
}

DiskImage directory_with(const std::string& name, const std::string& text) {
    DiskImage image;
    image.directories.insert("d");
    const Bytes bytes = as_bytes(text);
    if (!name.empty()) image.put(name, {bytes.begin(), bytes.end()});
    return image;
}

std::string text_in(const DiskImage& image, const std::string& path) {
    if (image.files.count(path) == 0) return "(none)";
    return std::string(as_text(image.bytes(path)));
}

std::set<std::string> texts_after(const SimFileSystem& files, const std::string& path,
                                  Profile profile = Profile::weakest) {
    std::set<std::string> texts;
    CrashStates states(files.journal(), profile);
    states.at(files.operations(),
              [&](const DiskImage& image, std::uint64_t) { texts.insert(text_in(image, path)); });
    return texts;
}

/// True if at every crash point every state satisfies `holds`.
bool survives(const SimFileSystem& files, Profile profile,
              const std::function<bool(const DiskImage&, std::size_t point)>& holds) {
    CrashStates states(files.journal(), profile);
    bool all = true;
    for (std::size_t point = 0; point <= files.operations(); ++point) {
        states.at(point,
                  [&](const DiskImage& image, std::uint64_t) { all = all && holds(image, point); });
    }
    return all;
}

TEST(CrashStates, has_one_state_when_everything_is_synced) {
    SimFileSystem files(directory_with("", ""));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, as_bytes("x")).ok());
    ASSERT_TRUE(file->sync_data().ok());
    ASSERT_TRUE(files.sync_directory("d").ok());
    EXPECT_EQ(texts_after(files, "d/a"), std::set<std::string>{"x"});
}

TEST(CrashStates, may_lose_a_new_file_whose_directory_was_not_synced) {
    SimFileSystem files(directory_with("", ""));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, as_bytes("x")).ok());
    ASSERT_TRUE(file->sync_data().ok());
    EXPECT_EQ(texts_after(files, "d/a"), (std::set<std::string>{"(none)", "x"}));
    EXPECT_EQ(texts_after(files, "d/a", Profile::ext4_ordered), std::set<std::string>{"x"})
        << "ext4 keeps the name of a new file that was synced";
}

TEST(CrashStates, may_lose_any_subset_of_unsynced_writes) {
    SimFileSystem files(directory_with("d/a", "0000"));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, as_bytes("1")).ok());
    ASSERT_TRUE(file->write_at(1, as_bytes("2")).ok());
    EXPECT_EQ(texts_after(files, "d/a"), (std::set<std::string>{"0000", "1000", "0200", "1200"}));
    EXPECT_EQ(texts_after(files, "d/a", Profile::prefix_only),
              (std::set<std::string>{"0000", "1000", "1200"}));
}

TEST(CrashStates, applies_surviving_writes_in_their_order) {
    SimFileSystem files(directory_with("d/a", "0"));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, as_bytes("1")).ok());
    ASSERT_TRUE(file->write_at(0, as_bytes("2")).ok());
    ASSERT_TRUE(file->sync_data().ok());
    ASSERT_TRUE(file->write_at(0, as_bytes("3")).ok());
    EXPECT_EQ(texts_after(files, "d/a"), (std::set<std::string>{"2", "3"}));
}

TEST(CrashStates, never_makes_durable_what_a_failed_sync_was_for) {
    SimFileSystem files(directory_with("d/a", "0"));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, as_bytes("1")).ok());
    files.inject({.only = Call::sync_data});
    ASSERT_FALSE(file->sync_data().ok());
    ASSERT_TRUE(file->sync_data().ok()) << "the second sync lies, as it does on Linux";
    std::byte now{};
    ASSERT_TRUE(file->read_at(0, MutableBytes(&now, 1)).ok());
    EXPECT_EQ(now, std::byte{'1'}) << "reads come from the page cache";
    EXPECT_EQ(texts_after(files, "d/a"), (std::set<std::string>{"0", "1"}));

    ASSERT_TRUE(file->write_at(0, as_bytes("1")).ok());
    ASSERT_TRUE(file->sync_data().ok());
    EXPECT_EQ(texts_after(files, "d/a"), std::set<std::string>{"1"}) << "written again, it counts";
}

TEST(CrashStates, never_brings_back_an_older_write_over_a_newer_durable_one) {
    SimFileSystem files(directory_with("d/a", "0"));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, as_bytes("1")).ok());
    files.inject({.only = Call::sync_data});
    ASSERT_FALSE(file->sync_data().ok());
    ASSERT_TRUE(file->write_at(0, as_bytes("2")).ok());
    ASSERT_TRUE(file->sync_data().ok());
    EXPECT_EQ(texts_after(files, "d/a"), std::set<std::string>{"2"});
}

TEST(CrashStates, treats_a_failed_directory_sync_like_a_failed_file_sync) {
    SimFileSystem files(directory_with("", ""));
    ASSERT_TRUE(open(files, "d/a")->sync_data().ok());
    files.inject({.only = Call::sync_directory});
    ASSERT_FALSE(files.sync_directory("d").ok());
    ASSERT_TRUE(files.sync_directory("d").ok());
    EXPECT_EQ(texts_after(files, "d/a"), (std::set<std::string>{"", "(none)"}));
    ASSERT_TRUE(open(files, "d/b")->sync_data().ok());
    ASSERT_TRUE(files.sync_directory("d").ok());
    EXPECT_EQ(texts_after(files, "d/a"), std::set<std::string>{""})
        << "the block was written again";
}

TEST(CrashStates, tears_writes_at_sectors_only) {
    const std::string zeros(1536, '0');
    SimFileSystem files(directory_with("d/a", zeros));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, as_bytes(std::string(1536, '1'))).ok());
    std::set<std::string> shapes;
    for (const std::string& text : texts_after(files, "d/a")) {
        std::string shape;
        for (std::size_t at = 0; at < text.size(); ++at) {
            if (at % 512 == 0) shape.push_back(text[at]);
            ASSERT_EQ(text[at], shape.back()) << "a sector is whole";
        }
        shapes.insert(shape);
    }
    EXPECT_EQ(shapes, (std::set<std::string>{"000", "111", "100", "110", "001", "011", "101"}));
}

TEST(CrashStates, fills_the_grown_part_of_a_file_with_zeros_or_garbage_or_nothing) {
    SimFileSystem files(directory_with("d/a", ""));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, as_bytes(std::string(100, '1'))).ok());
    const std::set<std::string> texts = texts_after(files, "d/a");
    EXPECT_EQ(texts.count(""), 1U);
    EXPECT_EQ(texts.count(std::string(100, '1')), 1U);
    EXPECT_EQ(texts.count(std::string(100, '\0')), 1U);
    EXPECT_GE(texts.size(), 4U) << "and garbage";
    EXPECT_EQ(texts_after(files, "d/a", Profile::ext4_ordered),
              (std::set<std::string>{"", std::string(100, '1')}));
}

TEST(CrashStates, shows_old_bytes_of_other_files_in_the_grown_part) {
    DiskImage start = directory_with("d/a", std::string(512, 's'));
    SimFileSystem files(start);
    const auto file = open(files, "d/b");
    ASSERT_TRUE(file->write_at(0, as_bytes(std::string(512, '1'))).ok());
    EXPECT_EQ(texts_after(files, "d/b").count(std::string(512, 's')), 1U);
}

TEST(CrashStates, may_lose_truncations_too) {
    SimFileSystem files(directory_with("d/a", "1234"));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->truncate(2).ok());
    EXPECT_EQ(texts_after(files, "d/a"), (std::set<std::string>{"12", "1234"}));
    ASSERT_TRUE(file->sync_data().ok());
    EXPECT_EQ(texts_after(files, "d/a"), std::set<std::string>{"12"});
}

TEST(CrashStates, may_bring_back_a_removed_file_until_its_directory_is_synced) {
    SimFileSystem files(directory_with("d/a", "x"));
    ASSERT_TRUE(files.remove("d/a").ok());
    EXPECT_EQ(texts_after(files, "d/a"), (std::set<std::string>{"x", "(none)"}));
    ASSERT_TRUE(files.sync_directory("d").ok());
    EXPECT_EQ(texts_after(files, "d/a"), std::set<std::string>{"(none)"});
}

TEST(CrashStates, needs_both_directories_synced_for_a_rename_between_them) {
    DiskImage start = directory_with("d/a", "x");
    start.directories.insert("e");
    SimFileSystem files(start);
    ASSERT_TRUE(files.rename("d/a", "e/a").ok());
    ASSERT_TRUE(files.sync_directory("d").ok());
    EXPECT_EQ(texts_after(files, "e/a"), (std::set<std::string>{"x", "(none)"}));
    ASSERT_TRUE(files.sync_directory("e").ok());
    EXPECT_EQ(texts_after(files, "e/a"), std::set<std::string>{"x"});
    EXPECT_EQ(texts_after(files, "d/a"), std::set<std::string>{"(none)"});
}

TEST(CrashStates, loses_a_directory_with_all_in_it_if_its_parent_was_not_synced) {
    SimFileSystem files;
    ASSERT_TRUE(files.make_directory("d").ok());
    ASSERT_TRUE(open(files, "d/a")->write_at(0, as_bytes("x")).ok());
    ASSERT_TRUE(open(files, "d/a")->sync_data().ok());
    ASSERT_TRUE(files.sync_directory("d").ok());
    EXPECT_EQ(texts_after(files, "d/a"), (std::set<std::string>{"x", "(none)"}));
    ASSERT_TRUE(files.sync_directory(".").ok());
    EXPECT_EQ(texts_after(files, "d/a"), std::set<std::string>{"x"});
}

// Replacing a file: the new content is there whole, or the old one.
struct Replace {
    bool sync_file = true;
    bool sync_names = true;
};
void replace(SimFileSystem& files, Replace how) {
    const auto file = open(files, "d/a.tmp");
    ASSERT_TRUE(file->write_at(0, as_bytes("new")).ok());
    if (how.sync_file) {
        ASSERT_TRUE(file->sync_data().ok());
    }
    ASSERT_TRUE(files.rename("d/a.tmp", "d/a").ok());
    if (how.sync_names) {
        ASSERT_TRUE(files.sync_directory("d").ok());
    }
}
bool old_or_new(const DiskImage& image, std::size_t) {
    return text_in(image, "d/a") == "old" || text_in(image, "d/a") == "new";
}

TEST(Protocols, write_sync_rename_survives_every_profile) {
    for (const Profile profile : {Profile::weakest, Profile::ext4_ordered, Profile::prefix_only}) {
        SimFileSystem files(directory_with("d/a", "old"));
        replace(files, {});
        const std::size_t end = files.operations();
        EXPECT_TRUE(survives(files, profile, old_or_new));
        EXPECT_TRUE(survives(files, profile, [&](const DiskImage& image, std::size_t point) {
            return point < end || text_in(image, "d/a") == "new";
        }));
    }
}

TEST(Protocols, rename_without_a_sync_of_the_file_is_caught) {
    SimFileSystem files(directory_with("d/a", "old"));
    replace(files, {.sync_file = false});
    EXPECT_FALSE(survives(files, Profile::weakest, old_or_new));
    EXPECT_FALSE(survives(files, Profile::ext4_ordered, old_or_new));
    EXPECT_TRUE(survives(files, Profile::prefix_only, old_or_new))
        << "too weak a tester for this bug";
}

TEST(Protocols, rename_without_a_sync_of_the_directory_is_caught) {
    SimFileSystem files(directory_with("d/a", "old"));
    replace(files, {.sync_names = false});
    const std::size_t end = files.operations();
    const auto promised = [&](const DiskImage& image, std::size_t point) {
        return point < end || text_in(image, "d/a") == "new";
    };
    for (const Profile profile : {Profile::weakest, Profile::ext4_ordered, Profile::prefix_only}) {
        EXPECT_FALSE(survives(files, profile, promised));
    }
}

TEST(Protocols, creating_a_file_without_a_sync_of_the_directory_is_caught) {
    const auto write_promise = [](SimFileSystem& files, bool sync_names) {
        const auto file = open(files, "d/a");
        if (sync_names) {
            ASSERT_TRUE(files.sync_directory("d").ok());
        }
        ASSERT_TRUE(file->write_at(0, as_bytes("promise")).ok());
        ASSERT_TRUE(file->sync_data().ok());
    };
    for (const bool sync_names : {true, false}) {
        SimFileSystem files(directory_with("", ""));
        write_promise(files, sync_names);
        const std::size_t end = files.operations();
        const auto kept = [&](const DiskImage& image, std::size_t point) {
            return point < end || text_in(image, "d/a") == "promise";
        };
        EXPECT_EQ(survives(files, Profile::weakest, kept), sync_names);
    }
}

TEST(Protocols, a_commit_mark_written_with_the_data_in_one_sync_is_caught) {
    const auto data_if_mark = [](const DiskImage& image, std::size_t) {
        const std::string text = text_in(image, "d/a");
        return text[512] != 'M' || text[0] == 'D';
    };
    for (const bool two_syncs : {true, false}) {
        SimFileSystem files(directory_with("d/a", std::string(1024, '0')));
        const auto file = open(files, "d/a");
        ASSERT_TRUE(file->write_at(0, as_bytes("D")).ok());
        if (two_syncs) {
            ASSERT_TRUE(file->sync_data().ok());
        }
        ASSERT_TRUE(file->write_at(512, as_bytes("M")).ok());
        ASSERT_TRUE(file->sync_data().ok());
        EXPECT_EQ(survives(files, Profile::weakest, data_if_mark), two_syncs);
    }
}

TEST(CrashStates, selects_when_there_are_too_many_and_always_tries_the_telling_ones) {
    SimFileSystem files(directory_with("d/a", std::string(16, '0')));
    const auto file = open(files, "d/a");
    for (std::size_t i = 0; i < 16; ++i) ASSERT_TRUE(file->write_at(i, as_bytes("1")).ok());
    std::set<std::string> texts;
    CrashStates states(files.journal(), Profile::weakest, {.samples = 100, .states_max = 1000});
    const std::uint64_t count =
        states.at(files.operations(), [&](const DiskImage& image, std::uint64_t) {
            EXPECT_TRUE(texts.insert(text_in(image, "d/a")).second) << "no state comes twice";
        });
    EXPECT_TRUE(states.sampled());
    EXPECT_EQ(states.pending(), 16U);
    EXPECT_EQ(count, texts.size());
    EXPECT_GT(count, 100U);
    for (std::size_t i = 0; i <= 16; ++i) {
        const std::string prefix = std::string(i, '1') + std::string(16 - i, '0');
        EXPECT_EQ(texts.count(prefix), 1U) << prefix;
        if (i == 16) continue;
        std::string without(16, '1');
        without[i] = '0';
        std::string only(16, '0');
        only[i] = '1';
        EXPECT_EQ(texts.count(without) + texts.count(only), 2U) << i;
    }
}

TEST(CrashStates, gives_the_same_states_in_the_same_order_every_time) {
    SimFileSystem files(directory_with("d/a", std::string(20, '0')));
    const auto file = open(files, "d/a");
    for (std::size_t i = 0; i < 20; ++i) ASSERT_TRUE(file->write_at(i, as_bytes("1")).ok());
    const auto run = [&] {
        std::vector<std::uint64_t> hashes;
        CrashStates states(files.journal(), Profile::weakest, {.samples = 50, .seed = 9});
        states.at(files.operations(),
                  [&](const DiskImage&, std::uint64_t hash) { hashes.push_back(hash); });
        return hashes;
    };
    EXPECT_EQ(run(), run());
}

TEST(CrashStates, never_mixes_up_the_contents_of_files) {
    DiskImage start;
    start.directories.insert("d");
    for (char name = 'a'; name <= 'h'; ++name) {
        start.put(std::string("d/") + name, std::vector<std::byte>(8, std::byte(name)));
    }
    SimFileSystem files(start);
    for (const char name : std::string("acdh")) {
        const auto file = open(files, std::string("d/") + name);
        const std::string upper(1, static_cast<char>(name - 'a' + 'A'));
        ASSERT_TRUE(file->write_at(2, as_bytes(upper)).ok());
        ASSERT_TRUE(file->write_at(5, as_bytes(upper)).ok());
    }
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        CrashStates states(files.journal(), Profile::weakest, {.seed = seed});
        const std::uint64_t count =
            states.at(files.operations(), [&](const DiskImage& image, std::uint64_t) {
                for (const auto& [path, content] : image.files) {
                    for (const std::byte byte : content->bytes()) {
                        EXPECT_EQ(static_cast<char>(byte) | 0x20, path.back()) << path;
                    }
                }
            });
        EXPECT_EQ(count, 256U);
    }
}

TEST(CrashStates, says_how_a_state_came_about) {
    SimFileSystem files(directory_with("", ""));
    const auto file = open(files, "d/a");
    ASSERT_TRUE(file->write_at(0, std::vector<std::byte>(1024)).ok());
    CrashStates states(files.journal(), Profile::weakest);
    std::string all;
    states.at(files.operations(),
              [&](const DiskImage&, std::uint64_t) { all += states.description() + "\n"; });
    EXPECT_NE(all.find("LOST 0: create d/a"), std::string::npos);
    EXPECT_NE(all.find("kept 1: write d/a (inode 1) at 0 bytes 1024 TORN"), std::string::npos);
}

}  // namespace
}  // namespace ferry::sim
