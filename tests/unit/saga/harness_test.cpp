#include "ferry/saga/harness.hpp"

#include <sstream>

#include "ferry/saga/definition_file.hpp"
#include "machine_rig.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

TEST(SagaHarness, TellsAStoryOnAClockOfItsOwn) {
    Harness harness(Rig::must(order()));
    harness.act("charge", {Play::lost(), Play::failed("no money")});
    harness.start(R"({"cents":990})").run();
    EXPECT_EQ(harness.state(), SagaState::compensated);
    EXPECT_EQ(harness.effects("reserve"), 0);
    EXPECT_EQ(harness.disagreement(), "");
    EXPECT_GE(harness.elapsed(), 10s) << "the lost command's time";
    EXPECT_EQ(harness.payload("reserve"), R"({"cents":990})");
    EXPECT_NE(harness.story().back().find("saga compensated: step charge: no money"),
              std::string::npos)
        << harness.story().back();
}

TEST(SagaHarness, SweepsEveryFailureOfEveryStep) {
    EXPECT_EQ(sweep_failures(Rig::must(order()), "{}"), std::vector<std::string>{});
    Builder b("parallel");
    b.deadline(100h)
        .step("a")
        .command("q")
        .compensation("u")
        .parallel("g")
        .step("b")
        .command("q")
        .compensation("u")
        .parallel("g")
        .signal("yes")
        .step("p")
        .command("q")
        .pivot()
        .step("z")
        .command("q");
    EXPECT_EQ(sweep_failures(Rig::must(b), "{}"), std::vector<std::string>{});
}

TEST(SagaHarness, FindsADefinitionThatLeavesSomethingBehind) {
    Builder b("careless");
    b.deadline(1h)
        .step("a")
        .command("q")
        .compensation("u")
        .undo({10, 10, 20})
        .step("b")
        .command("q")
        .compensation("u");
    Harness harness(Rig::must(b));
    harness.act("b", {Play::failed("no")});
    harness.undo("a", std::vector<Play>(100, Play::failed("cannot")));
    harness.start().run();
    EXPECT_EQ(harness.state(), SagaState::parked);
    harness.force(SagaState::compensated);
    EXPECT_EQ(harness.effects("a"), 1);
}

TEST(SagaFile, ReadsTheExampleAndDrawsIt) {
    const char* text = R"(name = "order"
version = 2
deadline = "10m"
result = { tracking = "/steps/ship/tracking" }
[[step]]
name = "reserve"
command = { exchange = "shop", key = "stock.reserve" }
compensation = "stock.release"
timeout = "10s"
retry = { first = "100ms", cap = "1s", attempts = 3 }
input = { order = "/saga/id", "/deep/way" = { value = [1, { x = true }] }, c = { from = "/input/c", optional = true } }
when = [{ at = "/input/n", above = 3 }]
[[step]]
name = "ok"
signal = true
[[step]]
name = "ship"
command = "ship"
pivot = true
)";
    const ReadDefinition read = read_definition(text, "order.toml");
    for (const auto& one : read.complaints) ADD_FAILURE() << one.text();
    ASSERT_TRUE(read.definition);
    const Definition& d = *read.definition;
    EXPECT_EQ(d.steps[0].retry.attempts, 3U);
    EXPECT_EQ(d.steps[0].command.exchange, "shop");
    EXPECT_EQ(d.steps[1].kind, StepKind::signal);
    EXPECT_EQ(d.steps[1].timeout_ms, 0U);
    EXPECT_NE(graph_text(d).find("[ship]"), std::string::npos);
    EXPECT_NE(graph_dot(d).find("\"reserve\" -> \"ok\""), std::string::npos);
    Harness harness(d);
    harness.start(R"({"n":4})").run();
    EXPECT_EQ(harness.payload("reserve"), R"({"deep":{"way":[1,{"x":true}]},"order":"test"})");
    EXPECT_EQ(harness.state(), SagaState::running);
    harness.signal("ok").run();
    EXPECT_EQ(harness.state(), SagaState::completed);
}

TEST(SagaFile, NamesFileLineAndField) {
    const auto first = [](const char* text) {
        const ReadDefinition read = read_definition(text, "f.toml");
        EXPECT_FALSE(read.definition);
        return read.complaints.empty() ? "nothing" : read.complaints.front().text();
    };
    EXPECT_NE(
        first("name = \"x\"\ndeadline = 5\n").find("f.toml, line 2: deadline: must be a time"),
        std::string::npos);
    EXPECT_NE(first("name = \"x\"\ncolour = 1\n").find("line 2: colour: is no key"),
              std::string::npos);
    EXPECT_NE(first("name = \n").find("f.toml, line 1: this is not TOML"), std::string::npos);
    EXPECT_NE(first("name = \"x\"\ndeadline = \"1h\"\n\n[[step]]\nname = \"a\"\ncommand = \"q\"\n")
                  .find("f.toml, line 4: steps.a.compensation: is missing"),
              std::string::npos);
    EXPECT_NE(first("name=\"x\"\ndeadline=\"1h\"\n[[step]]\nname=\"a\"\ncommand=\"q\"\n"
                    "compensation=\"u\"\ninput = { x = \"/steps/a/y\" }\n")
                  .find("line 7: steps.a.input"),
              std::string::npos);
    EXPECT_NE(first("name=\"x\"\ndeadline=\"1h\"\n[[step]]\nname=\"a\"\ntry=\"q\"\n")
                  .find("confirm and cancel"),
              std::string::npos);
}

TEST(SagaFile, TryConfirmCancelBecomesADecisionAndConfirms) {
    const ReadDefinition read = read_definition(
        "name=\"trip\"\ndeadline=\"1h\"\n[[step]]\nname=\"seat\"\ntry=\"t\"\nconfirm=\"c\"\n"
        "cancel=\"x\"\n[[step]]\nname=\"car\"\ntry=\"t2\"\nconfirm=\"c2\"\ncancel=\"x2\"\n",
        "trip.toml");
    for (const auto& one : read.complaints) ADD_FAILURE() << one.text();
    ASSERT_TRUE(read.definition);
    ASSERT_EQ(read.definition->steps.size(), 5U);
    EXPECT_EQ(read.definition->steps[2].kind, StepKind::decision);
    EXPECT_EQ(read.definition->steps[4].name, "car.confirm");
    EXPECT_EQ(sweep_failures(*read.definition, "{}"), std::vector<std::string>{});
}

TEST(SagaFile, SurvivesAnyText) {
    const std::string good =
        "name=\"trip\"\ndeadline=\"1h\"\nresult={a=\"/input\"}\n[[step]]\nname=\"seat\"\n"
        "try=\"t\"\nconfirm=\"c\"\ncancel=\"x\"\nwhen=[{at=\"/input/x\",is=1}]\n";
    SeededRandom random(5);
    for (int i = 0; i < 3'000; ++i) {
        std::string text = good;
        for (int n = 0; n < 2; ++n) {
            text[random.below(text.size())] = static_cast<char>(random.below(127) + 1);
        }
        const ReadDefinition read = read_definition(text, "f");
        EXPECT_EQ(read.definition.has_value(), read.complaints.empty());
    }
}

}  // namespace
}  // namespace ferry::saga
