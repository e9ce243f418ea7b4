// The fuzzers' entry functions over their corpus, whole and with seeded changes. They abort when
// something does not hold, so a failing input is named before it is tried.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "ferry/platform/random.hpp"
#include "targets.hpp"

namespace ferry::fuzz {
namespace {

class FuzzReplay : public ::testing::TestWithParam<Target> {};

std::vector<std::filesystem::path> corpus_of(const std::string& name) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(FERRY_CORPUS) / name))
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

std::vector<std::byte> bytes_of(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    const Bytes bytes = as_bytes(text);
    return {bytes.begin(), bytes.end()};
}

void change(std::vector<std::byte>& bytes, SeededRandom& random) {
    for (std::uint64_t n = 1 + random.below(4); n > 0 && !bytes.empty(); --n) {
        const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(random.below(bytes.size()));
        switch (random.below(4)) {
            case 0:
                *at = static_cast<std::byte>(random.below(256));
                break;
            case 1:
                *at ^= static_cast<std::byte>(1U << random.below(8));
                break;
            case 2:
                bytes.erase(at);
                break;
            default:
                bytes.insert(at, static_cast<std::byte>(random.below(256)));
        }
    }
}

TEST_P(FuzzReplay, HoldsForEveryFileOfTheCorpusAndChangedCopies) {
    const std::vector<std::filesystem::path> files = corpus_of(GetParam().name);
    ASSERT_FALSE(files.empty());
    SeededRandom random(11);
    for (const auto& file : files) {
        RecordProperty("last_tried", file.string());
        const std::vector<std::byte> bytes = bytes_of(file);
        GetParam().run(bytes);
        for (int i = 0; i < GetParam().changes; ++i) {
            std::vector<std::byte> changed = bytes;
            change(changed, random);
            GetParam().run(changed);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzReplay,
                         ::testing::ValuesIn(targets().begin(), targets().end()),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace ferry::fuzz
