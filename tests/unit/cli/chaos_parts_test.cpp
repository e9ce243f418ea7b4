#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "chaos/effects.hpp"
#include "chaos/producer.hpp"
#include "child.hpp"

namespace ferry::cli::chaos {
namespace {

TEST(Chaos, IdsAreReadFromWhatACheckPrints) {
    const auto ids = parse_ids("1\n\n  18446744073709551615 \r\n3");
    ASSERT_TRUE(ids.ok()) << ids.error();
    EXPECT_EQ(ids.value(), (Ids{1, UINT64_MAX, 3}));
    EXPECT_TRUE(parse_ids("").value().empty());
}

TEST(Chaos, WhatIsNoIdIsShownWithItsLine) {
    for (const auto& [text, line] :
         {std::pair{"1\ntwo\n", "line 2"}, std::pair{"0\n", "line 1"}, std::pair{"-4", "line 1"},
          std::pair{"7 8", "line 1"}, std::pair{"\n\n18446744073709551616", "line 3"}}) {
        const auto ids = parse_ids(text);
        ASSERT_FALSE(ids.ok()) << text;
        EXPECT_EQ(ids.error().rfind(line, 0), 0U) << ids.error();
    }
}

TEST(Chaos, EveryPlaceOfAPayloadIsFilledIn) {
    EXPECT_EQ(filled_in("{id}", 12, "k"), "12");
    EXPECT_EQ(filled_in("{\"a\": {id}, \"b\": \"{key}\", \"c\": {id}}", 7, "{id}"),
              "{\"a\": 7, \"b\": \"{id}\", \"c\": 7}");
}

TEST(Chaos, AProgramThatIsStartedApartWritesToItsFileAndEndsWithItsGroup) {
    const auto folder =
        std::filesystem::temp_directory_path() / ("ferry-apart-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
    const std::string output = folder / "output";
    auto child = Child::start_apart(
        {"sh", "-c", "echo said; echo complained >&2; cat; echo \"$WORD\"; sleep 1000; true"},
        {{"WORD", "done reading"}}, output);
    ASSERT_TRUE(child.ok());
    const auto written = [&] {
        std::ifstream in(output);
        return std::string{std::istreambuf_iterator<char>(in), {}};
    };
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (written().find("done reading") == std::string::npos &&
           std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_EQ(written(), "said\ncomplained\ndone reading\n") << "there was nothing to read";
    child.value().send(SIGKILL);  // the shell and its sleep
    std::optional<int> status;
    while (!(status = child.value().poll()) && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_EQ(status, 128 + SIGKILL);
    EXPECT_FALSE(Child::start_apart({"true"}, {}, (folder / "no" / "where").string()).ok());
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace ferry::cli::chaos
