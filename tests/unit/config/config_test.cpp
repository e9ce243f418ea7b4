#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "config_file.hpp"
#include "config_value.hpp"
#include "policy_table.hpp"
#include "settings.hpp"

namespace ferry::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string error_of(const std::string& text) {
    Configuration configuration;
    std::string error;
    EXPECT_FALSE(read_config_text(text, "f.toml", configuration, error)) << text;
    EXPECT_EQ(error.find('\n'), std::string::npos) << "one sentence, one line: " << error;
    return error;
}

Configuration accepted(const std::string& text) {
    Configuration configuration;
    std::string error;
    EXPECT_TRUE(read_config_text(text, "f.toml", configuration, error)) << error;
    return configuration;
}

TEST(Config, EmptyFileGivesTheDefaults) {
    const Configuration read = accepted("");
    EXPECT_EQ(read.broker.listen, (server::Address{"127.0.0.1", 7420}));
    EXPECT_EQ(read.broker.log.segment_bytes, 64ULL << 20);
    EXPECT_FALSE(read.allow_insecure);
    EXPECT_EQ(check_together(read), "");
}

TEST(Config, EveryKindOfValueIsTaken) {
    const Configuration read = accepted(R"(
        [data]
        dir = "/var/lib/ferrymq"
        durability = "interval"
        interval = "250ms"
        [log]
        segment_bytes = "128MiB"
        cache_bytes = 0
        level = "debug"
        [listen]
        address = "[::1]:7000"
        allow_insecure = true
        [http]
        address = ""
        [limits]
        connections = 12
        [queue]
        lease = "2h"
    )");
    EXPECT_EQ(read.broker.data_dir, "/var/lib/ferrymq");
    EXPECT_EQ(read.broker.log.durability, log::Durability::interval);
    EXPECT_EQ(read.broker.log.interval_ms, 250U);
    EXPECT_EQ(read.broker.log.segment_bytes, 128ULL << 20);
    EXPECT_EQ(read.broker.log.cache_bytes, 0U);
    EXPECT_EQ(read.broker.log_level, server::LogLevel::debug);
    EXPECT_EQ(read.broker.listen, (server::Address{"::1", 7000}));
    EXPECT_FALSE(read.broker.http.has_value());
    EXPECT_EQ(read.broker.connections_max, 12U);
    EXPECT_EQ(read.broker.lease_ms, 2ULL * 3600 * 1000);
    EXPECT_TRUE(read.allow_insecure);
}

TEST(Config, UnknownKeyIsRefusedWithFileLineAndTheKeysThereAre) {
    EXPECT_THAT(error_of("[log]\n\nsegment_size = \"64MiB\"\n"),
                AllOf(StartsWith("f.toml, line 3: "), HasSubstr("log.segment_size"),
                      HasSubstr("log.segment_bytes")));
}

TEST(Config, UnknownTableIsRefusedWithTheTablesThereAre) {
    EXPECT_THAT(error_of("[logs]\nlevel = \"info\"\n"),
                AllOf(StartsWith("f.toml, line 1: "), HasSubstr("\"logs\""), HasSubstr("limits")));
    EXPECT_THAT(error_of("port = 7420\n"), HasSubstr("unknown key \"port\""));
    EXPECT_THAT(error_of("log = 1\n"), HasSubstr("write [log]"));
}

TEST(Config, WrongTypeOrRangeNamesKeyAndWhatIsAllowed) {
    EXPECT_THAT(
        error_of("[limits]\nconnections = \"many\"\n"),
        AllOf(StartsWith("f.toml, line 2: limits.connections must be"), HasSubstr("1 to 1000000")));
    EXPECT_THAT(error_of("[limits]\nconnections = 0\n"), HasSubstr("from 1"));
    EXPECT_THAT(error_of("[limits]\nconnections = -5\n"), HasSubstr("from 1"));
    EXPECT_THAT(error_of("[log]\nsegment_bytes = \"5GiB\"\n"), HasSubstr("to \"4GiB\""));
    EXPECT_THAT(error_of("[log]\nsegment_bytes = \"64MB\"\n"), HasSubstr("a size from"));
    EXPECT_THAT(error_of("[queue]\nlease = 30\n"), HasSubstr("a duration from"));
    EXPECT_THAT(error_of("[data]\ndurability = \"maybe\"\n"), HasSubstr("\"fsync\" \"interval\""));
    EXPECT_THAT(error_of("[listen]\naddress = \"example.com:80\"\n"), HasSubstr("numeric host"));
    EXPECT_THAT(error_of("[listen]\nallow_insecure = \"yes\"\n"), HasSubstr("true or false"));
    EXPECT_THAT(error_of("[log]\nlevel = [1]\n"), HasSubstr("log.level must be one of"));
}

TEST(Config, AKeyWithALineBreakDoesNotBreakTheSentence) {
    EXPECT_THAT(error_of("[log]\n\"a\\nb\" = 1\n"), HasSubstr("unknown key log.a?b;"));
    EXPECT_THAT(error_of("\"a\\nb\\u007f\" = 1\n"), HasSubstr("a?b?"));
}

// The TOML library would call some letters impossible where they stand between keys.
TEST(Config, LettersBeyondAsciiAreRefusedOrTakenLikeOthers) {
    EXPECT_THAT(error_of("[log]\n\xd2\x95\x97 = 1\n"), HasSubstr("not TOML"));
    EXPECT_THAT(error_of("[log]\n[\xc2\xa7]\n"), HasSubstr("not TOML"));
    EXPECT_EQ(accepted("[data] # \xc3\xa4\ndir = \"\"\"\\\n\xc3\xa4\"\"\"\n").broker.data_dir,
              "\xc3\xa4");
}

TEST(Config, BrokenTomlNamesTheLine) {
    EXPECT_THAT(error_of("[log]\nlevel = \n"),
                AllOf(StartsWith("f.toml, line 2: "), HasSubstr("not TOML")));
}

TEST(Config, AMissingFileIsSaidWithItsPath) {
    Configuration configuration;
    std::string error;
    EXPECT_FALSE(read_config_file("/nonexistent/f.toml", configuration, error));
    EXPECT_THAT(error, AllOf(HasSubstr("/nonexistent/f.toml"), HasSubstr("No such file")));
}

TEST(Config, OtherMachinesAreKeptOutUnlessAskedFor) {
    Configuration configuration = accepted("[listen]\naddress = \"0.0.0.0:7420\"\n");
    EXPECT_THAT(check_together(configuration),
                AllOf(HasSubstr("listen.address"), HasSubstr("--allow-insecure")));
    configuration.allow_insecure = true;
    EXPECT_EQ(check_together(configuration), "");
    EXPECT_THAT(check_together(accepted("[http]\naddress = \"[::]:7421\"\n")),
                HasSubstr("http.address"));
    EXPECT_EQ(check_together(accepted("[listen]\naddress = \"127.8.8.8:1\"\n")), "");
}

TEST(Config, ValuesThatDoNotFitTogetherAreRefused) {
    EXPECT_THAT(check_together(accepted("[log]\nsegment_bytes = \"1MiB\"\n")),
                HasSubstr("log.batch_bytes"));
    EXPECT_THAT(check_together(accepted("[log]\nsegment_bytes = 67108865\n")),
                HasSubstr("multiple"));
    EXPECT_THAT(check_together(accepted("[log]\nbatch_bytes = \"1MiB\"\n")),
                HasSubstr("limits.frame_bytes"));
    EXPECT_THAT(check_together(accepted("[http]\naddress = \"127.0.0.1:7420\"\n")),
                HasSubstr("the same"));
}

TEST(Config, SizesAndDurationsAreReadExactlyOrNotAtAll) {
    EXPECT_EQ(parse_size("0"), 0U);
    EXPECT_EQ(parse_size("1TiB"), 1ULL << 40);
    EXPECT_EQ(parse_size("3 KiB"), 3072U);
    for (const char* bad : {"", "MiB", "1.5MiB", "-1", "1mib", "1MiBx", "16777216TiB", "1MB"}) {
        EXPECT_FALSE(parse_size(bad).has_value()) << bad;
    }
    EXPECT_EQ(parse_duration_ms("1min"), 60'000U);
    EXPECT_EQ(parse_duration_ms("7d"), 604'800'000U);
    for (const char* bad : {"", "5", "5 m", "1e3s", "s", "213503982334602d"}) {
        EXPECT_FALSE(parse_duration_ms(bad).has_value()) << bad;
    }
}

TEST(Config, AddressesAreNumericWithAPort) {
    EXPECT_EQ(parse_address("localhost:1"), (server::Address{"127.0.0.1", 1}));
    EXPECT_EQ(parse_address("[::]:65535"), (server::Address{"::", 65535}));
    for (const char* bad : {"", ":1", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "::1:7",
                            "[127.0.0.1]:7", "1.2.3:4", "1.2.3.4:7x", "host:7"}) {
        EXPECT_FALSE(parse_address(bad).has_value()) << bad;
    }
    EXPECT_FALSE(parse_address(std::string_view("127.0.0.1\0.example:7", 20)).has_value());
}

/// The documented file with every `#key = value` switched on.
std::string documented_file_switched_on() {
    std::ifstream file(FERRY_CONFIG_FILE);
    std::ostringstream text;
    text << file.rdbuf();
    return std::regex_replace(text.str(), std::regex("\n#([a-z_]+ = )"), "\n$1");
}

TEST(Config, TheDocumentedFileHasEveryKeyWithItsDefault) {
    const Configuration documented = accepted(documented_file_switched_on());
    const Configuration defaults;
    const std::string text = documented_file_switched_on();
    std::string table;
    for (const Setting& setting : settings()) {
        EXPECT_EQ(setting.show(documented), setting.show(defaults)) << setting.key;
        const auto dot = setting.key.find('.');
        const std::string key = "\n" + setting.key.substr(dot + 1) + " = " + setting.show(defaults);
        const auto at = text.find("\n[" + setting.key.substr(0, dot) + "]\n");
        ASSERT_NE(at, std::string::npos) << setting.key;
        const auto end = text.find("\n[", at + 2);
        EXPECT_THAT(text.substr(at, end - at), HasSubstr(key)) << setting.key;
    }
}

TEST(Config, PoliciesAreReadAndShownAsTheFileWritesThem) {
    const std::string text = R"([[policy]]
name = "a"
pattern = "jobs.*"
priority = 3
retry = "linear"
retry_delay = "2s"
retry_delay_max = "1min"
message_ttl = "1h"
retry_jitter_percent = 20
max_deliveries = 5
dead_letter_key = "dead"
[[policy]]
name = "b"
pattern = "*"
expires = "7d"
)";
    const Configuration read = accepted(text);
    ASSERT_EQ(read.broker.policies.size(), 2U);
    EXPECT_EQ(read.broker.policies[0].settings.retry_delay_max_ms, 60'000U);
    std::string shown;
    for (const auto& policy : read.broker.policies) shown += policy_text(policy);
    EXPECT_EQ(accepted(shown).broker.policies, read.broker.policies) << shown;
}

TEST(Config, BadPoliciesAreRefusedWithWhatIsAllowed) {
    const std::string good = "[[policy]]\nname = \"a\"\npattern = \"*\"\n";
    EXPECT_THAT(error_of("[policy]\nname = \"a\"\n"), HasSubstr("[[policy]]"));
    EXPECT_THAT(error_of(good), HasSubstr("at least one setting"));
    EXPECT_THAT(error_of(good + "max_deliveries = 1000001\n"), HasSubstr("0 to 1000000"));
    EXPECT_THAT(error_of(good + "max_deliveries = 0.5\n"), HasSubstr("a text or a number"));
    EXPECT_THAT(error_of(good + "priority = 1001\n"), HasSubstr("0 to 1000"));
    EXPECT_THAT(error_of(good + "message_ttl = 5\n"), HasSubstr("a duration of at most"));
    EXPECT_THAT(error_of(good + "ordered = true\n"), HasSubstr("one of the keys of a policy"));
    EXPECT_THAT(error_of(good + "retry = \"fixed\"\n"), HasSubstr("needs retry_delay_ms"));
    const std::string whole = good + "max_deliveries = 2\n";
    EXPECT_THAT(error_of(whole + whole), AllOf(HasSubstr("two policies a"), HasSubstr("line 5")));
}

TEST(Config, WhatIsShownReadsBackAsTheSame) {
    for (const Setting& setting : settings()) {
        const Configuration defaults;
        const auto dot = setting.key.find('.');
        const Configuration read =
            accepted("[" + setting.key.substr(0, dot) + "]\n" + setting.key.substr(dot + 1) +
                     " = " + setting.show(defaults) + "\n");
        EXPECT_EQ(setting.show(read), setting.show(defaults)) << setting.key;
    }
}

}  // namespace
}  // namespace ferry::config
