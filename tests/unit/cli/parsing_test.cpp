#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app.hpp"
#include "bench/histogram.hpp"
#include "completion.hpp"
#include "message_json.hpp"
#include "message_source.hpp"
#include "output.hpp"
#include "units.hpp"

namespace ferry::cli {
namespace {

using std::chrono::milliseconds;

TEST(Durations, ReadWithTheirUnits) {
    EXPECT_EQ(parse_duration("5"), milliseconds(5000));
    EXPECT_EQ(parse_duration("0.25s"), milliseconds(250));
    EXPECT_EQ(parse_duration("200ms"), milliseconds(200));
    EXPECT_EQ(parse_duration("2m"), milliseconds(120'000));
    EXPECT_EQ(parse_duration("1h"), milliseconds(3'600'000));
}

TEST(Durations, RefuseWhatIsNone) {
    for (const char* text :
         {"", "s", "-5s", "5 s", "1.2.3", "5days", ".", "99999999999999999999h", "1e9"}) {
        EXPECT_FALSE(parse_duration(text).has_value()) << text;
    }
}

TEST(Sizes, ReadWithTheirUnits) {
    EXPECT_EQ(parse_size("100"), 100U);
    EXPECT_EQ(parse_size("4KiB"), 4096U);
    EXPECT_EQ(parse_size("1.5k"), 1536U);
    EXPECT_EQ(parse_size("2MiB"), 2U << 20);
    EXPECT_FALSE(parse_size("5 apples").has_value());
}

TEST(Headers, TakeNumbersAndTruthAsSuchAndQuotedTextAsText) {
    EXPECT_EQ(parse_header("a=1")->second, wire::HeaderValue(std::int64_t{1}));
    EXPECT_EQ(parse_header("a=-1.5")->second, wire::HeaderValue(-1.5));
    EXPECT_EQ(parse_header("a=true")->second, wire::HeaderValue(true));
    EXPECT_EQ(parse_header("a=null")->second, wire::HeaderValue(std::monostate{}));
    EXPECT_EQ(parse_header("a=b=c")->second, wire::HeaderValue(std::string("b=c")));
    EXPECT_EQ(parse_header("a=\"1\"")->second, wire::HeaderValue(std::string("1")));
    EXPECT_EQ(parse_header("a=")->second, wire::HeaderValue(std::string()));
    EXPECT_FALSE(parse_header("novalue").has_value());
    EXPECT_FALSE(parse_header("=v").has_value());
}

TEST(Utf8, IsToldFromOtherBytes) {
    EXPECT_TRUE(valid_utf8("plain"));
    EXPECT_TRUE(valid_utf8("f\xc3\xa4hre \xe2\x82\xac \xf0\x9f\x9a\xa2"));
    EXPECT_FALSE(valid_utf8("\xff"));
    EXPECT_FALSE(valid_utf8("\xc3"));
    EXPECT_FALSE(valid_utf8("\xc0\xaf")) << "overlong";
    EXPECT_FALSE(valid_utf8("\xed\xa0\x80")) << "surrogate";
    EXPECT_FALSE(valid_utf8("\xf5\x80\x80\x80")) << "beyond the last code point";
}

TEST(Base64, PadsAsItShould) {
    const auto encode = [](std::string_view text) {
        return base64({reinterpret_cast<const std::byte*>(text.data()), text.size()});
    };
    EXPECT_EQ(encode(""), "");
    EXPECT_EQ(encode("f"), "Zg==");
    EXPECT_EQ(encode("fo"), "Zm8=");
    EXPECT_EQ(encode("foobar"), "Zm9vYmFy");
}

TEST(MessageJson, ShowsTextAsTextAndOtherBytesAsBase64) {
    wire::Message message;
    message.routing_key = "q";
    message.properties.headers = {{"n", std::int64_t{7}}};
    message.payload = "hi";
    const Json text = message_json(message, {"q", 5, 1, 9});
    EXPECT_EQ(text["payload"], "hi");
    EXPECT_EQ(text["headers"]["n"], 7);
    EXPECT_EQ(text["position"], 5);
    message.payload = "\xff";
    const Json binary = message_json(message, {});
    EXPECT_FALSE(binary.contains("payload"));
    EXPECT_EQ(binary["payload_base64"], "/w==");
}

TEST(Tables, LineUpAndSetNumbersFlushRight) {
    EXPECT_EQ(format_table({{"name", ">n"}, {"a", "1,000"}, {"long name", "7"}}),
              "name           n\na          1,000\nlong name      7\n");
    EXPECT_EQ(with_commas(1234567), "1,234,567");
    EXPECT_EQ(with_commas(999), "999");
    EXPECT_EQ(human_bytes(1536), "1.5 KiB");
}

std::vector<std::string> lines_of(const std::string& text) {
    std::FILE* file = std::tmpfile();
    std::fwrite(text.data(), 1, text.size(), file);
    std::fflush(file);
    std::rewind(file);
    MessageSource source = MessageSource::of_lines(file);
    std::vector<std::string> lines;
    std::string line;
    for (auto more = source.next(line); more.ok() && more.value(); more = source.next(line)) {
        lines.push_back(line);
    }
    std::fclose(file);
    return lines;
}

TEST(MessageSource, GivesEachLineWithOrWithoutALastNewline) {
    EXPECT_EQ(lines_of("a\nb\n"), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(lines_of("a\nb"), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(lines_of("a\n\nb\n"), (std::vector<std::string>{"a", "", "b"}));
    EXPECT_TRUE(lines_of("").empty());
    const std::string long_line(200'000, 'x');
    EXPECT_EQ(lines_of(long_line + "\ny"), (std::vector<std::string>{long_line, "y"}));
}

TEST(MessageSource, RefusesALineThatNoBrokerTakes) {
    std::FILE* file = std::tmpfile();
    const std::string line(MessageSource::payload_bytes_cap + 1, 'x');
    std::fwrite(line.data(), 1, line.size(), file);
    std::rewind(file);
    MessageSource source = MessageSource::of_lines(file);
    std::string out;
    const auto more = source.next(out);
    ASSERT_FALSE(more.ok());
    EXPECT_EQ(more.error().code, Errc::rejected);
    std::fclose(file);
}

TEST(MessageSource, SaysThatAFileIsNotThere) {
    const auto source = MessageSource::of_file("/no/such/file");
    ASSERT_FALSE(source.ok());
    EXPECT_EQ(source.error().code, Errc::not_found);
}

TEST(Histogram, KeepsPercentilesWithinOneSixtyFourth) {
    bench::Histogram histogram;
    for (std::uint64_t i = 1; i <= 100'000; ++i) histogram.add(i * 1000);
    EXPECT_NEAR(static_cast<double>(histogram.percentile(0.5)), 50e6, 50e6 / 64);
    EXPECT_NEAR(static_cast<double>(histogram.percentile(0.99)), 99e6, 99e6 / 64);
    EXPECT_EQ(histogram.percentile(1.0), 100'000'000U);
    EXPECT_EQ(histogram.max(), 100'000'000U);
    EXPECT_EQ(histogram.count(), 100'000U);
}

TEST(Histogram, TakesExtremesAndWeights) {
    bench::Histogram histogram;
    EXPECT_EQ(histogram.percentile(0.5), 0U);
    histogram.add(5, 99);
    histogram.add(UINT64_MAX);
    EXPECT_EQ(histogram.percentile(0.5), 5U);
    EXPECT_EQ(histogram.percentile(0.999), UINT64_MAX);
}

TEST(Completion, KnowsEveryCommandOfTheTable) {
    Context context;
    const auto app = make_app(context);
    for (const char* shell : {"bash", "zsh", "fish"}) {
        const std::string script = completion_script(*app, shell);
        for (const CLI::App* command :
             app->app().get_subcommands([](const CLI::App*) { return true; })) {
            EXPECT_NE(script.find(command->get_name()), std::string::npos)
                << shell << " " << command->get_name();
        }
        EXPECT_NE(script.find("content-type"), std::string::npos) << shell;
    }
}

int check_help(const CLI::App& app) {
    int commands = 0;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        EXPECT_FALSE(command->get_description().empty()) << command->get_name();
        EXPECT_NE(command->get_footer().find("Examples:"), std::string::npos)
            << command->get_name() << " has no examples";
        commands += 1 + check_help(*command);
    }
    return commands;
}

TEST(Help, HasExamplesForEveryCommand) {
    Context context;
    const auto app = make_app(context);
    EXPECT_GE(check_help(app->app()), 25);
}

}  // namespace
}  // namespace ferry::cli
