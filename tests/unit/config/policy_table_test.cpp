// Every key of a policy in the configuration file: what it takes, and what it says to what it does
// not take.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <vector>

#include "policy_table.hpp"

namespace ferry::config {
namespace {

using ::testing::HasSubstr;

struct Key {
    std::vector<RawValue> good;
    std::vector<RawValue> bad;
    std::string allowed;  // what the complaint says
};

RawValue text(std::string value) {
    return RawValue(std::move(value));
}
RawValue number(std::int64_t value) {
    return RawValue(value);
}

const std::map<std::string, Key>& keys() {
    static const Key week{{text("7d"), text("1ms")}, {text("8d"), text("x"), number(5)}, "\"7d\""};
    static const Key years{
        {text("3650d"), text("1s")}, {text("3651d"), text(""), number(1)}, "a duration of at most"};
    static const std::string long_name(256, 'n');
    static const std::map<std::string, Key> all{
        {"name", {{text("a")}, {number(1)}, "a text"}},
        {"pattern", {{text("*")}, {number(1)}, "a text"}},
        {"priority",
         {{number(0), number(1000)}, {number(-1), number(1001), text("5")}, "0 to 1000"}},
        {"retry",
         {{text("none"), text("fixed"), text("linear"), text("exponential")},
          {text("Fixed"), text(""), number(1)},
          "\"none\" \"fixed\" \"linear\" \"exponential\""}},
        {"retry_delay", week},
        {"retry_delay_max", week},
        {"retry_jitter_percent",
         {{number(0), number(100)}, {number(101), number(-1), text("5")}, "0 to 100"}},
        {"max_deliveries",
         {{number(0), number(1'000'000)},
          {number(1'000'001), number(-1), text("3")},
          "0 to 1000000"}},
        {"message_ttl", years},
        {"expires", years},
        {"max_length",
         {{number(0), number(std::int64_t{1} << 40)},
          {number((std::int64_t{1} << 40) + 1), number(-1), text("10")},
          "0 to 1099511627776"}},
        {"max_bytes",
         {{number(1), text("1MiB"), text("1048576GiB")},
          {number(-1), text("1048577GiB"), text("many")},
          "a size of at most"}},
        {"overflow",
         {{text("drop_head"), text("reject_publish"), text("dead_letter_head")},
          {text("drop"), text(""), number(0)},
          "\"drop_head\" \"reject_publish\" \"dead_letter_head\""}},
        {"dedupe_window", week},
        {"dedupe_max_ids",
         {{number(0), number(1'000'000)},
          {number(1'000'001), number(-1), text("3")},
          "0 to 1000000"}},
        {"dead_letter_exchange", {{text("e")}, {text(long_name), number(1)}, "at most 255 bytes"}},
        {"dead_letter_key", {{text("k")}, {text(long_name), number(1)}, "at most 255 bytes"}},
    };
    return all;
}

TEST(PolicyKeys, TakeWhatIsAllowedAndRefuseTheRestWithTheRange) {
    for (const auto& [name, key] : keys()) {
        for (const RawValue& value : key.good) {
            engine::NamedPolicy policy;
            EXPECT_EQ(set_policy_key(policy, name, value), "") << name;
        }
        for (const RawValue& value : key.bad) {
            engine::NamedPolicy policy;
            const engine::NamedPolicy before = policy;
            EXPECT_THAT(set_policy_key(policy, name, value), HasSubstr(key.allowed)) << name;
            EXPECT_EQ(policy, before) << name << " was refused and changed something";
        }
    }
}

TEST(PolicyKeys, AreAllInThisTable) {
    engine::NamedPolicy policy;
    const std::string known = set_policy_key(policy, "no-such-key", number(1));
    std::istringstream words(known.substr(known.find(':') + 1));
    std::size_t count = 0;
    for (std::string word; words >> word; ++count) {
        if (word.back() == ',') word.pop_back();
        EXPECT_EQ(keys().count(word), 1U) << word;
    }
    EXPECT_EQ(count, keys().size()) << known;
}

}  // namespace
}  // namespace ferry::config
