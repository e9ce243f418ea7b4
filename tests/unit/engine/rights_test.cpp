#include <gtest/gtest.h>

#include "ferry/engine/rights.hpp"

namespace ferry::engine {
namespace {

Rights alice() {
    Rights rights;
    rights.user = "alice";
    rights.configure = {"orders.*"};
    rights.write = {"orders.new", "log-?"};
    rights.read = {"*.dead"};
    return rights;
}

// G115
TEST(Rights, AreGivenByPatternsAndNothingElse) {
    EXPECT_TRUE(permits(alice(), Right::configure, "orders.new"));
    EXPECT_FALSE(permits(alice(), Right::configure, "orders"));
    EXPECT_FALSE(permits(alice(), Right::read, "orders.new"));
    EXPECT_TRUE(permits(alice(), Right::read, "orders.dead"));
    EXPECT_TRUE(permits(alice(), Right::write, "log-1"));
    EXPECT_FALSE(permits(alice(), Right::write, "log-12"));
    EXPECT_FALSE(permits(alice(), Right::admin, "orders.new"));
    EXPECT_TRUE(permits(alice(), Right::any, "log-1"));
    EXPECT_FALSE(permits(alice(), Right::any, "log"));
    EXPECT_TRUE(permits(alice(), Right::none, "anything"));
    EXPECT_FALSE(permits(Rights{}, Right::any, ""));
}

TEST(Rights, OfAnAdministratorAreAll) {
    Rights root;
    root.admin = true;
    for (const Right right :
         {Right::any, Right::configure, Right::write, Right::read, Right::admin})
        EXPECT_TRUE(permits(root, right, "whatever"));
}

TEST(Rights, ToPublishIsToWriteToTheExchangeOrByTheDefaultOneToTheQueue) {
    EXPECT_TRUE(permits_publish(alice(), "", "orders.new"));
    EXPECT_TRUE(permits_publish(alice(), "orders.new", "whatever"));
    EXPECT_FALSE(permits_publish(alice(), "amq.topic", "orders.new"));
}

TEST(Rights, LackIsToldByUserRightAndName) {
    EXPECT_EQ(lack_text(alice(), Right::read, "q"), "user alice lacks the right read on 'q'");
    EXPECT_EQ(lack_text(alice(), Right::admin, "q"), "user alice lacks the right admin");
    EXPECT_LT(lack_text(alice(), Right::read, std::string(5000, 'x')).size(), 200U);
}

// G115
TEST(Rights, VerbsThatNobodyKnowsDemandTheMost) {
    for (int number = 0; number < 256; ++number) {
        const auto verb = static_cast<wire::Verb>(number);
        const Demand demand = demand_of(verb);
        if (number == 0 || number > 200) {
            EXPECT_EQ(demand.right, Right::admin) << number;
        }
        if (demand.right == Right::admin) {
            EXPECT_EQ(demand.name, Demand::Name::none) << number;
        }
    }
    EXPECT_EQ(demand_of(wire::Verb::stats).right, Right::admin);
    EXPECT_EQ(demand_of(wire::Verb::subscribe).right, Right::read);
}

}  // namespace
}  // namespace ferry::engine
