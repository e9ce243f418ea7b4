// What was noted of a command's keys is found again for just its messages.

#include "planned_keys.hpp"

#include <gtest/gtest.h>

#include <array>

namespace ferry::engine {
namespace {

class PlannedKeysOfACommand : public ::testing::Test {
protected:
    [[nodiscard]] Bytes part(std::size_t offset, std::size_t bytes) const {
        return Bytes(command).subspan(offset, bytes);
    }
    void note() {
        keys.add({0, 10, 1});
        keys.add({10, 20, 2});
        // The one at 30 goes to a queue without order.
        keys.add({40, 10, 0});
        keys.add({50, 10, 3});
    }

    std::array<std::byte, 60> command{};
    PlannedKeys keys;
};

TEST_F(PlannedKeysOfACommand, AreFoundForMessagesSideBySide) {
    const PlannedKeys::Command now(keys, command);
    note();
    ASSERT_EQ(keys.find(part(0, 30), 2).size(), 2U);
    EXPECT_EQ(keys.find(part(0, 30), 2)[1].key, 2U);
    ASSERT_EQ(keys.find(part(40, 20), 2).size(), 2U);
    EXPECT_EQ(keys.find(part(40, 20), 2)[0].key, 0U);
    EXPECT_EQ(keys.find(part(50, 10), 1)[0].key, 3U);
}

TEST_F(PlannedKeysOfACommand, AreNotFoundWhereOneIsLacking) {
    const PlannedKeys::Command now(keys, command);
    note();
    EXPECT_TRUE(keys.find(part(10, 40), 3).empty()) << "the message between them was not noted";
    EXPECT_TRUE(keys.find(part(30, 10), 1).empty());
    EXPECT_TRUE(keys.find(part(30, 20), 2).empty());
    EXPECT_TRUE(keys.find(part(0, 30), 3).empty()) << "three messages, of which two were noted";
    EXPECT_TRUE(keys.find(part(50, 10), 2).empty()) << "more than there are";
    EXPECT_TRUE(keys.find(part(5, 25), 2).empty()) << "none begins there";
    EXPECT_TRUE(keys.find(part(0, 0), 0).empty());
}

TEST_F(PlannedKeysOfACommand, AreForgottenWithItAndOfNoOtherBytes) {
    std::array<std::byte, 60> others{};
    {
        const PlannedKeys::Command now(keys, command);
        note();
        EXPECT_TRUE(keys.find(Bytes(others).first(10), 1).empty());
        EXPECT_TRUE(keys.find(Bytes(command).last(0), 1).empty());
    }
    EXPECT_TRUE(keys.find(part(0, 10), 1).empty());
    note();  // nobody carries out a command: nothing is noted
    const PlannedKeys::Command again(keys, command);
    EXPECT_TRUE(keys.find(part(0, 10), 1).empty());
}

}  // namespace
}  // namespace ferry::engine
