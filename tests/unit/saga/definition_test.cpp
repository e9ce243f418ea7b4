#include "machine_rig.hpp"

using namespace std::chrono_literals;

namespace ferry::saga {
namespace {

std::string complaints(const Builder& builder) {
    const auto built = builder.build();
    return built.ok() ? "fine" : built.error().text;
}

Builder one() {
    Builder b("x");
    b.deadline(1h).step("a").command("q").compensation("u");
    return b;
}

TEST(SagaDefinition, IsReadBackFromItsCanonicalText) {
    Builder b = order();
    b.when({"/steps/charge/ok", Condition::Test::is, "true"})
        .input("/a", "/input/b")
        .constant("/c", "1")
        .parallel("last")
        .retriable();
    const Definition d = Rig::must(b);
    const auto read = from_canonical_text(canonical_text(d));
    ASSERT_TRUE(read.ok()) << read.error().text;
    EXPECT_EQ(read.value(), d);
    EXPECT_EQ(hash_of(read.value()), hash_of(d));
    EXPECT_EQ(hash_of(d).size(), 16U);
}

TEST(SagaDefinition, DamagedTextIsRefused) {
    const std::string text = canonical_text(Rig::must(order()));
    for (std::size_t i = 0; i < text.size(); i += 3) {
        std::string cut = text.substr(0, i);
        EXPECT_FALSE(from_canonical_text(cut).ok());
        std::string changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        const auto read = from_canonical_text(changed);
        if (read.ok()) {
            EXPECT_EQ(canonical_text(read.value()), changed);
        }
    }
}

TEST(SagaDefinition, EveryComplaintNamesItsField) {
    Builder missing("x");
    missing.step("a").command("q");
    EXPECT_NE(complaints(missing).find("deadline: is missing"), std::string::npos);
    EXPECT_NE(complaints(missing).find("steps.a.compensation: is missing"), std::string::npos);
    const auto with = [](auto change) {
        Builder b = one();
        change(b);
        return complaints(b);
    };
    EXPECT_EQ(complaints(one()), "fine");
    using B = Builder&;
    EXPECT_NE(with([](B b) { b.step("a").command("q").compensation("u"); }).find("earlier step"),
              std::string::npos);
    EXPECT_NE(with([](B b) { b.pivot(); }).find("never undone"), std::string::npos);
    EXPECT_NE(with([](B b) {
                  b.step("p").command("q").pivot().step("r").command("q").pivot();
              }).find("one point of no return"),
              std::string::npos);
    EXPECT_NE(with([](B b) { b.step("p").command("q").pivot().parallel("g"); }).find("runs alone"),
              std::string::npos);
    EXPECT_NE(with([](B b) { b.input("/x", "/steps/a/y"); }).find("no result yet"),
              std::string::npos);
    EXPECT_NE(with([](B b) { b.input("/x", "/steps/nobody/y"); }).find("there is no step"),
              std::string::npos);
    EXPECT_NE(with([](B b) { b.input("x", "/input"); }).find("begins with /"), std::string::npos);
    EXPECT_NE(with([](B b) { b.constant("/x", "{"); }).find("no JSON"), std::string::npos);
    EXPECT_NE(with([](B b) {
                  b.when({"/input/n", Condition::Test::above, "\"1\""});
              }).find("number"),
              std::string::npos);
    EXPECT_NE(with([](B b) { b.timeout(0s); }).find("timeout"), std::string::npos);
    EXPECT_NE(with([](B b) { b.saga("s", "x"); }).find("contain itself"), std::string::npos);
    EXPECT_NE(with([](B b) { b.try_confirm_cancel("t", "a", "b", "c"); }).find("decided()"),
              std::string::npos);
    EXPECT_NE(with([](B b) { b.step("with space").command("q").compensation("u"); }).find("a name"),
              std::string::npos);
}

TEST(SagaDefinition, StepsOfAGroupStandTogetherAndDoNotReadEachOther) {
    Builder apart("x");
    apart.deadline(1h)
        .step("a")
        .command("q")
        .compensation("u")
        .parallel("g")
        .step("b")
        .command("q")
        .compensation("u")
        .step("c")
        .command("q")
        .compensation("u")
        .parallel("g");
    EXPECT_NE(complaints(apart).find("do not stand together"), std::string::npos);
    Builder reads("x");
    reads.deadline(1h)
        .step("a")
        .command("q")
        .compensation("u")
        .parallel("g")
        .step("b")
        .command("q")
        .compensation("u")
        .parallel("g")
        .input("/x", "/steps/a");
    EXPECT_NE(complaints(reads).find("at the same time"), std::string::npos);
}

std::string together(const std::vector<Definition>& all) {
    const auto complaints = check_together(all);
    if (complaints.empty()) return "fine";
    return complaints.front().where + ": " + complaints.front().what;
}

TEST(SagaDefinition, ASubSagaWithAPivotStandsOnlyWhereNothingIsUndone) {
    Builder inner("inner");
    inner.deadline(1h).step("p").command("q").pivot();
    Builder before("before");
    before.deadline(1h).saga("s", "inner").step("p").command("q").pivot();
    Builder behind("behind");
    behind.deadline(1h).step("p").command("q").pivot().saga("s", "inner");
    Builder is_one("is-one");
    is_one.deadline(1h).saga("s", "inner").pivot();
    const Definition child = Rig::must(inner);
    EXPECT_EQ(together({Rig::must(before)}), "fine") << "it is not known";
    EXPECT_NE(together({Rig::must(before), child})
                  .find("before.steps.s.saga: the saga inner has a pivot, step p"),
              std::string::npos);
    EXPECT_EQ(together({Rig::must(behind), child}), "fine");
    EXPECT_EQ(together({Rig::must(is_one), child}), "fine");
    Definition newer = child;
    newer.version = 2;
    newer.steps[0].pivot = false;
    newer.steps[0].without_undo = true;
    EXPECT_EQ(together({Rig::must(before), child, newer}), "fine") << "the newest counts";
}

TEST(SagaDefinition, SagasThatContainEachOtherAreRefused) {
    Builder one("one");
    one.deadline(1h).saga("s", "two");
    Builder two("two");
    two.deadline(1h).saga("s", "three");
    Builder three("three");
    three.deadline(1h).saga("s", "one");
    EXPECT_EQ(together({Rig::must(one), Rig::must(two)}), "fine");
    EXPECT_NE(
        together({Rig::must(one), Rig::must(two), Rig::must(three)}).find("contain each other"),
        std::string::npos);
}

}  // namespace
}  // namespace ferry::saga
