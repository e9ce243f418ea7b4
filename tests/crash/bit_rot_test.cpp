// Damage to what was durable: the log refuses to open, or a read refuses, or the damage is where
// nothing is. Never wrong bytes, never a record silently missing.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "explorer.hpp"

namespace ferry::crash {
namespace {

// The end is sealed: of what was synced last there is otherwise no later witness, and nobody can
// tell damage from a write that never finished.
Aged sealed_log() {
    const Aged start = aged_log();
    sim::SimFileSystem files(start.disk);
    LogDriver driver(files, start.history, 3);
    std::string wrong = driver.open();
    for (const Step step :
         {Step::roll, Step::publish_batch, Step::publish_small, Step::publish_small,
          Step::publish_small, Step::checkpoint, Step::compact, Step::close, Step::roll,
          Step::publish_large, Step::ack}) {
        if (wrong.empty()) wrong = driver.run(step);
    }
    EXPECT_EQ(wrong, "");
    driver.kill();
    return {files.image(), driver.history().after_crash(files.operations())};
}

// Of all tests of this program; what changed nothing is not counted.
std::uint64_t& all_cases() {
    static std::uint64_t cases = 0;
    return cases;
}

class Rot {
public:
    Rot() : healthy_(sealed_log()) {}

    [[nodiscard]] const sim::DiskImage& disk() const { return healthy_.disk; }

    void try_damage(const std::string& name, const sim::DiskImage& damaged) {
        ++cases_;
        if (damaged.hash() == healthy_.disk.hash()) {
            ++no_change_;
            return;
        }
        sim::SimFileSystem files(damaged, false);
        LogDriver driver(files, healthy_.history, 77);
        driver.expect_damage();
        std::string wrong = driver.open();
        if (!driver.is_open()) {
            const Errc code = driver.open_error().code;
            const bool clear = code == Errc::corrupt || code == Errc::rejected;
            EXPECT_TRUE(clear) << name << ": " << wrong;
            EXPECT_EQ(files.image().hash(), damaged.hash())
                << name << ": refused, and yet changed it";
            ++refused_;
            return;
        }
        std::uint64_t detected = 0;
        if (wrong.empty()) wrong = driver.read_all(&detected);
        EXPECT_EQ(wrong, "") << name;
        ++(detected > 0 ? refused_by_reads_ : invisible_);
    }

    void report(std::uint64_t goal) const {
        std::cout << "[ COUNTS   ] cases=" << cases_ << " refused_at_open=" << refused_
                  << " refused_by_reads=" << refused_by_reads_ << " invisible=" << invisible_
                  << " no_change=" << no_change_ << std::endl;
        EXPECT_GE(cases_ * 10, goal * 8) << "the goal is " << goal << " cases";
        EXPECT_GT(refused_, 0U);
        all_cases() += cases_ - no_change_;
    }

private:
    Aged healthy_;
    std::uint64_t cases_ = 0;
    std::uint64_t no_change_ = 0;
    std::uint64_t refused_ = 0;
    std::uint64_t refused_by_reads_ = 0;
    std::uint64_t invisible_ = 0;
};

void flip_bits(Rot& rot, std::uint64_t stride) {
    SeededRandom random(stride);
    for (const auto& file : rot.disk().files) {
        const std::uint64_t size = file.second->bytes().size();
        for (std::uint64_t at = random.below(stride); at < size; at += stride) {
            if (testing::Test::HasFailure()) return;
            sim::DiskImage damaged = rot.disk();
            damaged.flip_bit(file.first, at, static_cast<unsigned>(random.below(8)));
            rot.try_damage("bit flipped in " + file.first + " at " + std::to_string(at), damaged);
        }
    }
}

using Sector = std::pair<std::string, std::uint64_t>;

void write_over(sim::DiskImage& image, const Sector& target, const Bytes& data) {
    std::vector<std::byte> bytes = image.bytes(target.first);
    std::copy(data.begin(), data.end(),
              bytes.begin() + static_cast<std::ptrdiff_t>(target.second * sim::sector_bytes));
    image.put(target.first, std::move(bytes));
}

Bytes sector_of(const sim::DiskImage& image, const Sector& sector) {
    return Bytes(image.bytes(sector.first))
        .subspan(sector.second * sim::sector_bytes, sim::sector_bytes);
}

std::string newest_segment(const sim::DiskImage& disk) {
    std::string newest;
    for (const auto& file : disk.files) {
        const bool segment = file.first.find(".seg") != std::string::npos &&
                             file.first.find("spare") == std::string::npos;
        if (segment) newest = std::max(newest, file.first);
    }
    return newest;
}

std::vector<std::uint64_t> used_sectors(const std::vector<std::byte>& bytes) {
    std::vector<std::uint64_t> used;
    for (std::uint64_t at = 0; at + sim::sector_bytes <= bytes.size(); at += sim::sector_bytes) {
        if (bytes[at] != std::byte{0}) used.push_back(at / sim::sector_bytes);
    }
    return used;
}

// Changing places, the last batch and its only witness, the seal, are both lost: two faults at
// once, and what is left looks like a write that never finished.
bool takes_the_witness(const sim::DiskImage& disk, const Sector& one, const Sector& other) {
    const std::string newest = newest_segment(disk);
    const std::vector<std::uint64_t> used = used_sectors(disk.bytes(newest));
    const std::uint64_t last = used.back();
    const std::uint64_t before = used[used.size() - 2];
    return one.first == newest && other.first == newest &&
           std::min(one.second, other.second) == before &&
           std::max(one.second, other.second) == last;
}

void damage_sectors(Rot& rot, std::uint64_t misdirected) {
    std::vector<Sector> sectors;
    for (const auto& file : rot.disk().files) {
        const std::uint64_t count = file.second->bytes().size() / sim::sector_bytes;
        for (std::uint64_t sector = 0; sector < count; ++sector) {
            const std::string name = file.first + " sector " + std::to_string(sector);
            sectors.emplace_back(file.first, sector);
            sim::DiskImage zeroed = rot.disk();
            zeroed.zero_sector(file.first, sector);
            rot.try_damage("zeroed " + name, zeroed);
        }
    }
    SeededRandom random(4);
    for (std::uint64_t i = 0; i < misdirected && !testing::Test::HasFailure(); ++i) {
        const Sector& from = sectors[random.below(sectors.size())];
        const Sector& to = sectors[random.below(sectors.size())];
        if (from == to) continue;
        const std::string name = from.first + " sector " + std::to_string(from.second) + ", " +
                                 to.first + " sector " + std::to_string(to.second);
        sim::DiskImage damaged = rot.disk();
        write_over(damaged, to, sector_of(rot.disk(), from));
        rot.try_damage("written over: " + name, damaged);
        if (takes_the_witness(rot.disk(), from, to)) continue;
        write_over(damaged, from, sector_of(rot.disk(), to));
        rot.try_damage("swapped: " + name, damaged);
    }
}

// G13
TEST(BitRot, of_single_bits_is_noticed_or_without_effect) {
    Rot rot;
    flip_bits(rot, 97);
    rot.report(700);
}

TEST(BitRot, of_whole_sectors_is_noticed_or_without_effect) {
    Rot rot;
    damage_sectors(rot, 300);
    rot.report(500);
}

TEST(BitRot, that_swaps_sectors_of_like_shape_is_noticed_or_without_effect) {
    Rot rot;
    for (const auto& file : rot.disk().files) {
        const std::vector<std::uint64_t> used = used_sectors(file.second->bytes());
        for (std::size_t i = 1; i < used.size(); ++i) {
            for (std::size_t distance = 1; distance <= std::min<std::size_t>(i, 3); ++distance) {
                const Sector one{file.first, used[i - distance]};
                const Sector other{file.first, used[i]};
                if (takes_the_witness(rot.disk(), one, other)) continue;
                sim::DiskImage damaged = rot.disk();
                damaged.swap_sectors(file.first, one.second, other.second);
                rot.try_damage("swapped in " + file.first + " sectors " +
                                   std::to_string(one.second) + " and " +
                                   std::to_string(other.second),
                               damaged);
            }
        }
    }
    rot.report(200);
}

TEST(BitRot, that_takes_a_whole_file_is_noticed_or_without_effect) {
    Rot rot;
    // The newest segment came after the last checkpoint, so no other file knows of it.
    const std::string newest = newest_segment(rot.disk());
    for (const auto& file : rot.disk().files) {
        if (file.first == newest) continue;
        sim::DiskImage damaged = rot.disk();
        damaged.files.erase(file.first);
        rot.try_damage("removed " + file.first, damaged);
        for (const std::uint64_t part : {0U, 1U, 2U, 3U}) {
            const auto& bytes = file.second->bytes();
            damaged.put(file.first, {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(
                                                                        bytes.size() * part / 4)});
            rot.try_damage("cut off " + file.first + " at quarter " + std::to_string(part),
                           damaged);
        }
    }
    rot.report(20);
}

TEST(SlowBitRot, of_single_bits_everywhere_is_noticed_or_without_effect) {
    Rot rot;
    flip_bits(rot, 3);
    rot.report(20'000);
}

TEST(SlowBitRot, of_many_misdirected_writes_is_noticed_or_without_effect) {
    Rot rot;
    damage_sectors(rot, 5000);
    rot.report(8'000);
}

TEST(SlowBitRotEvidence, is_as_much_as_is_promised) {
    constexpr std::uint64_t goal = 20'000;
    if (all_cases() == 0) GTEST_SKIP() << "the large runs were not asked for";
    std::cout << "evidence: damage cases reached " << all_cases() << " of " << goal << std::endl;
    EXPECT_GE(all_cases() * 10, goal * 8);
}

}  // namespace
}  // namespace ferry::crash
