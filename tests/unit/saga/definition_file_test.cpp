// Definitions as people write them: what is taken, and what is said of what is not.

#include "ferry/saga/definition_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace ferry::saga {
namespace {

using ::testing::HasSubstr;

std::string with_step(const std::string& lines) {
    return "name = \"order\"\nversion = 1\ndeadline = \"1m\"\n"
           "[[step]]\nname = \"reserve\"\ncommand = \"stock\"\nwithout_undo = true\n" +
           lines + "\n";
}

/// All that is said of it, a line each.
std::string said_of(const std::string& text) {
    const ReadDefinition read = read_definition(text, "f.toml");
    EXPECT_NE(read.definition.has_value(), !read.complaints.empty());
    std::string all;
    for (const FileComplaint& one : read.complaints) all += one.text() + "\n";
    return all;
}

TEST(DefinitionFile, ValuesOfEveryKindGoIntoInputsAndConditions) {
    const ReadDefinition read = read_definition(
        with_step("group = \"\"\nretriable = false\n"
                  "input = { a = { value = { b = [1, \"x\"] } }, c = { value = 1.5 }, "
                  "d = { value = true }, e = { value = [1] }, f = \"/input/f\", "
                  "g = { from = \"/input/g\", optional = true } }\n"
                  "undo_input = { order = \"/input/order\" }\n"
                  "when = [{ at = \"/input/n\", above = 1 }, { at = \"/input/n\", below = 9 }, "
                  "{ at = \"/input/m\", is_not = \"x\" }, { at = \"/input/o\", exists = false }]"),
        "f.toml");
    ASSERT_TRUE(read.definition.has_value()) << read.complaints.front().text();
    const Step& step = read.definition->steps.front();
    std::string inputs;
    for (const Mapping& one : step.input) inputs += one.to + " " + one.json + one.from + "\n";
    EXPECT_EQ(inputs, "/a {\"b\":[1,\"x\"]}\n/c 1.5\n/d true\n/e [1]\n/f /input/f\n/g /input/g\n");
    ASSERT_EQ(step.when.size(), 4U);
    EXPECT_EQ(step.when[0].test, Condition::Test::above);
    EXPECT_EQ(step.when[1].test, Condition::Test::below);
    EXPECT_EQ(step.when[2].test, Condition::Test::is_not);
    EXPECT_EQ(step.when[3].test, Condition::Test::absent);
    EXPECT_EQ(step.undo_input.size(), 1U);
}

TEST(DefinitionFile, WhatIsWrongIsSaidWithItsLineAndField) {
    const struct {
        const char* line;
        const char* said;
    } cases[] = {
        {"group = 1", "steps.reserve.group: must be a text"},
        {"pivot = \"yes\"", "steps.reserve.pivot: must be true or false"},
        {"retry = { attempts = 0 }", "attempts: must be a whole number from 1"},
        {"retry = 3", "steps.reserve.retry: must be a table: { first"},
        {"retry = { give_up = \"1s\" }", "is no key; there are first, cap and attempts"},
        {"undo = { attempts = 1 }", "is no key; there are first, cap and give_up"},
        {"timeout = 5", "must be a time such as"},
        {"timeout = \"5 years\"", "must be a time such as"},
        {"compensation = { exchange = \"e\", keys = \"k\" }", "compensation.keys: is no key here"},
        {"compensation = 7", "must be a queue's name, { exchange, key }"},
        {"input = 1", "must be a table: what = "},
        {"input = { a = 1 }", "a value is written { value = ... }"},
        {"input = { a = \"input/x\" }", "a source begins with /"},
        {"input = { a = { form = \"/x\" } }", "is no key; there are from, optional and value"},
        {"input = { a = { optional = true } }", "needs either from or value"},
        {"when = 1", "must be a list: [{ at = "},
        {"when = [{ at = \"/input/x\", like = 1 }]", "a condition has at and one of is"},
        {"when = [1]", "a condition has at and one of is"},
        {"try = \"x\"", "try goes with confirm and cancel"},
        {"colour = \"red\"", "steps.reserve.colour: is no key of a step"},
    };
    for (const auto& one : cases) {
        const std::string said = said_of(with_step(one.line));
        EXPECT_THAT(said, HasSubstr(one.said)) << one.line;
        EXPECT_THAT(said, HasSubstr("f.toml, line ")) << one.line;
    }
    EXPECT_THAT(said_of("name = \"order\"\nversion = 1\nstep = 1\n"),
                HasSubstr("f.toml, line 3: step: steps are written [[step]]"));
    EXPECT_THAT(said_of("name = \"order\"\ncolor = 1\n"), HasSubstr("color: is no key"));
    EXPECT_THAT(said_of(std::string((1U << 20) + 1, ' ')), HasSubstr("is larger than 1 MiB"));
}

}  // namespace
}  // namespace ferry::saga
