#include "ferry/history/history_file.hpp"

#include <chrono>
#include <sstream>

#include "story.hpp"

namespace ferry::history {
namespace {

std::string error_of(const std::string& text) {
    std::istringstream in(text);
    History history;
    Rules rules;
    const auto got = read(in, "h.jsonl", history, rules);
    return got.ok() ? "" : got.error().text;
}

TEST(Files, GiveBackWhatWasWritten) {
    Event full;
    full.process = 4'000'000'000;
    full.time_ns = UINT64_MAX;
    full.type = Type::info;
    full.what = What::durable;
    full.queue = 1;
    full.key = 2;
    full.id = 3;
    full.epoch = 4;
    full.seq = 5;
    full.payload = 6;
    full.position = 7;
    full.lease = 8;
    full.attempt = 9;
    full.redelivered = true;
    full.expires_ns = 10;
    full.group = 11;
    History history = {full, {}};
    for (std::uint8_t what = 0; what <= static_cast<std::uint8_t>(What::unlock); ++what) {
        history.emplace_back().what = static_cast<What>(what);
        history.back().type = static_cast<Type>(what % 4);
    }
    Rules rules;
    rules.ordered_queues = {1, 5};
    rules.no_ack_queues = {2};
    rules.dead_letter_queues = {3};
    rules.brokers = {4};
    rules.dead_letter_from = {5, 6};
    rules.deliveries_max = {{7, 3}};
    rules.lock_permits = {{8, 2}};
    rules.wall_jumps = true;
    rules.windows = {{6, 70}};
    rules.lease_ns = 8;
    rules.tolerance_ns = 9;
    rules.retry_delay_ns = 10;
    rules.healed_ns = 11;
    rules.stuck_ns = 12;
    rules.drain_expected = rules.effects_expected = rules.effects_once = false;
    rules.positions_checked = false;
    rules.broker_order = true;
    rules.attempts = Attempts::exact;
    std::string text = line_of(rules) + "\n";
    for (const Event& event : history) text += line_of(event);
    std::istringstream in(text);
    History read_back;
    Rules rules_back;
    const auto got = read(in, "h", read_back, rules_back);
    ASSERT_TRUE(got.ok()) << got.error().text;
    EXPECT_EQ(read_back, history);
    EXPECT_EQ(line_of(rules_back), line_of(rules));
}

TEST(Files, SayWhereTheyAreWrong) {
    EXPECT_EQ(error_of(""), "");
    const std::string good = line_of(Event{});
    EXPECT_EQ(error_of(good + "nonsense\n"), "h.jsonl:2: it is no JSON");
    EXPECT_EQ(error_of("[]\n"), "h.jsonl:1: it is no JSON object");
    EXPECT_EQ(error_of("{}\n"), "h.jsonl:1: an event has at least \"what\" and \"type\"");
    const std::string head = R"({"what":"ack","type":"ok",)";
    EXPECT_EQ(error_of(head + "\"colour\":1}\n"), "h.jsonl:1: \"colour\" is unknown");
    EXPECT_EQ(error_of(head + R"("a\nb":1})"), R"(h.jsonl:1: "a\nb" is unknown)");
    EXPECT_EQ(error_of(head + "\"id\":-1}\n"), "h.jsonl:1: \"id\" is no number that fits");
    EXPECT_EQ(error_of(head + "\"queue\":4294967296}\n"),
              "h.jsonl:1: \"queue\" is no number that fits");
    EXPECT_EQ(error_of(head + "\"redelivered\":1}\n"),
              "h.jsonl:1: \"redelivered\" is neither true nor false");
    EXPECT_EQ(error_of(R"({"what":"eat","type":"ok"})"),
              "h.jsonl:1: \"what\" has a value that is unknown");
    EXPECT_EQ(error_of(R"({"rules":{"windows":[[1]]}})"),
              "h.jsonl:1: \"windows\" is no list of pairs");
    EXPECT_EQ(error_of(good + std::string(line_bytes_max + 1, ' ') + "\n"),
              "h.jsonl:2: it is longer than 4096 bytes");
}

TEST(Files, AreMergedByTime) {
    Event early;
    early.time_ns = 1;
    early.process = 1;
    Event late = early;
    late.time_ns = 5;
    Event same = early;
    same.process = 2;
    EXPECT_EQ(merge({{early, late}, {same}}), (History{early, same, late}));
}

TEST(Report, ShowsTheFirstIdsAndAllThatIsKnownOfTheFirst) {
    Story story;
    for (std::uint64_t id = 1; id <= 100; ++id) story.publish(id);
    story.drained();
    const Report report = check(story.history, story.rules);
    const Finding* const lost = report.find(Violation::lost_prefix);
    ASSERT_NE(lost, nullptr);
    EXPECT_EQ(lost->count, 100U);
    EXPECT_EQ(lost->ids.size(), ids_shown_max);
    const std::string text = text_of(report, story.history);
    EXPECT_NE(text.find("lost-prefix: 100"), std::string::npos) << text;
    EXPECT_NE(text.find("message 1 of queue 1 was confirmed in event 1"), std::string::npos)
        << text;
    EXPECT_NE(text.find("publish invoke  queue 1  id 1"), std::string::npos) << text;
}

TEST(Report, NamesEveryViolationDifferently) {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < violation_count; ++i) {
        names.insert(name_of(static_cast<Violation>(i)));
        EXPECT_FALSE(meaning_of(static_cast<Violation>(i)).empty());
    }
    EXPECT_EQ(names.size(), violation_count);
}

#ifdef NDEBUG
constexpr std::size_t speed_events = 1'000'000;
#else
constexpr std::size_t speed_events = 100'000;
#endif

// A figure, not a limit: what is slow here is slow after every run.
TEST(Speed, OfALongHistory) {
    Story story;
    story.history.reserve(speed_events);
    for (std::uint64_t id = 1; story.history.size() < speed_events; ++id) {
        story.publish(id, id % 50 + 1).deliver(id).ack(id);
    }
    story.rules.ordered_queues = {1};
    story.rules.windows[Story::one] = 10;
    story.rules.stuck_ns = 1'000'000'000'000;
    story.drained();
    const auto began = std::chrono::steady_clock::now();
    const Report report = check(story.history, story.rules);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    EXPECT_TRUE(report.clean()) << text_of(report, story.history);
    std::printf("checked %zu events in %.2f s\n", story.history.size(), took.count());
}

}  // namespace
}  // namespace ferry::history
