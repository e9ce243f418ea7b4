// The words of `ferry why`: one sentence for every fact that the page names.

#include "why_words.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <string>

namespace ferry::cli {
namespace {

using transport::Fact;

std::set<std::string> facts_of_the_page() {
    std::ifstream page(FERRY_OPERATIONS_PAGE);
    std::set<std::string> facts;
    bool in_table = false;
    const std::regex name("`([a-z_]+)`");
    for (std::string line; std::getline(page, line);) {
        if (line.starts_with("| fact | about |")) in_table = true;
        if (in_table && !line.starts_with("|")) break;
        if (!in_table) continue;
        const std::string first = line.substr(0, line.find('|', 1));
        for (std::sregex_iterator at(first.begin(), first.end(), name), end; at != end; ++at)
            facts.insert((*at)[1]);
    }
    return facts;
}

TEST(WhyWords, EveryFactOfThePageIsASentence) {
    const std::set<std::string> facts = facts_of_the_page();
    EXPECT_GT(facts.size(), 40U);
    for (const std::string& fact : facts) {
        // The client's own, which goes to stderr in words.
        if (fact == "id_not_found") continue;
        const std::string words = words_of(Fact{fact, {}});
        EXPECT_FALSE(words.starts_with(fact)) << words;
        EXPECT_EQ(words.find('\n'), std::string::npos) << words;
        const bool goes_on = words.back() == ':';  // its consumers follow
        EXPECT_TRUE(words.back() == '.' || goes_on) << words;
    }
}

TEST(WhyWords, AKeyThatIsTakenNamesItselfAndTheMessageThatHasIt) {
    const Fact fact{"waits_for_key",
                    {{"position", std::int64_t{900}},
                     {"ahead", std::int64_t{4}},
                     {"behind", std::int64_t{700}},
                     {"key", std::string("order-7")}}};
    EXPECT_EQ(words_of(fact),
              "The message at position 900 waits for its key 'order-7', which the message at "
              "position 700 has.");
}

TEST(WhyWords, ASlotThatMovesNamesBothConsumers) {
    const Fact fact{"slot_drains",
                    {{"slot", std::int64_t{5}},
                     {"unacked", std::int64_t{2}},
                     {"session", std::int64_t{1}},
                     {"client", std::string("old")},
                     {"subscription", std::int64_t{3}},
                     {"to_session", std::int64_t{9}},
                     {"to_subscription", std::int64_t{4}}}};
    EXPECT_EQ(words_of(fact),
              "- Its key moves from 'old' (session 1, subscription 3) to a consumer (session 9, "
              "subscription 4), and waits until what is delivered of its slot is settled "
              "(unacked: 2).");
    const Fact pulled{"slots_move",
                      {{"slots", std::int64_t{5}},
                       {"unacked", std::int64_t{2}},
                       {"to_session", std::int64_t{9}},
                       {"to_subscription", std::int64_t{4}}}};
    EXPECT_NE(words_of(pulled).find("from who pulled to a consumer"), std::string::npos);
}

TEST(WhyWords, AFactOfANewerBrokerIsShownAsItIs) {
    EXPECT_EQ(words_of(Fact{"moon_is_full", {{"phase", std::int64_t{4}}}}),
              "moon_is_full: phase=4");
}

}  // namespace
}  // namespace ferry::cli
