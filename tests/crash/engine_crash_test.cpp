// Power cuts at every moment of what transactions, schedules, limits and ordered queues do: the
// engine that comes back is what a prefix of its records makes, everything that a client was told
// is in it, and it goes on as if nothing had happened.

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>

#include "engine_driver.hpp"
#include "ferry/wire/verbs.hpp"

namespace ferry::crash {
namespace {

using Texts = std::vector<std::string>;

std::string joined(const Texts& texts) {
    std::string out;
    for (const std::string& text : texts) out += text + " ";
    return out;
}
Texts sorted(Texts texts) {
    std::sort(texts.begin(), texts.end());
    return texts;
}
/// How many of "WHAT 1", "WHAT 2", … were told.
std::size_t count_of(const std::set<std::string>& told, const std::string& what) {
    std::size_t count = 0;
    while (told.count(what + " " + std::to_string(count + 1)) != 0) ++count;
    return count;
}

void expect_clean(const EngineWorkload& workload) {
    const EngineCounts counts =
        explore(workload, {.exhaustive_max = 8, .samples = 16, .states_max = 64});
    std::cout << "[ COUNTS   ] points=" << counts.points << " checked=" << counts.checked
              << " failures=" << counts.failures << std::endl;
    EXPECT_EQ(counts.failures, 0U) << counts.failed;
    EXPECT_GE(counts.checked, 80U) << "this tests next to nothing";
}

// ---- transactions: record 17 ----

/// Acks `acked` of subscription 5 and publishes `text` to two queues, or, if `lost`, to one that is
/// not there: then nothing of it happens.
void transact(EngineDriver& driver, std::uint64_t handle, engine::Sequence sequence,
              const Got* acked, const std::string& text, bool lost = false) {
    std::vector<std::byte> messages = driver.message("out", text);
    const std::vector<std::byte> other = driver.message(lost ? "nowhere" : "audit", text);
    messages.insert(messages.end(), other.begin(), other.end());
    const engine::Range<engine::Tag> tags{acked != nullptr ? acked->tag : 1,
                                          acked != nullptr ? acked->tag : 1};
    const engine::TransactionPart part{5, false, std::span(&tags, 1)};
    engine::TransactionCommand command;
    command.session = EngineDriver::session;
    command.request = driver.next_request();
    command.producer = handle;
    command.sequence = sequence;
    command.flags = wire::publish_mandatory;
    if (acked != nullptr) command.parts = std::span(&part, 1);
    command.count = 2;
    command.messages = messages;
    if (!driver.engine().transact(command, driver.now()))
        driver.tell("a transaction was malformed");
    driver.turn();
}

void run_transactions(EngineDriver& driver) {
    for (const char* queue : {"in", "out", "audit"}) driver.declare(queue);
    const std::uint64_t plain = driver.producer("plain");
    const std::uint64_t handle = driver.producer("tx");
    driver.publish(plain, "in", {"a", "b", "c", "d"});
    driver.tell("published");
    driver.subscribe(5, "in");
    const std::vector<Got> got = driver.deliveries();
    if (got.size() != 4) return driver.tell("a message was not delivered");
    for (engine::Sequence i = 1; i <= 4; ++i) {
        transact(driver, handle, i, &got[i - 1], got[i - 1].payload, i == 3);
        if (driver.answer<engine::TransactionAnswer>()) driver.tell("done " + got[i - 1].payload);
        if (i == 3 && !driver.answer<engine::Failure>()) driver.tell("a loss was not noticed");
        if (i == 2) driver.checkpoint();
    }
}

std::string check_transactions(EngineDriver& driver, const std::set<std::string>& told) {
    const Texts in = driver.texts("in");
    const Texts out = sorted(driver.texts("out"));
    if (in.empty() && out.empty()) return told.count("published") != 0 ? "LOST publish" : "";
    if (out != sorted(driver.texts("audit"))) return "half a transaction: out " + joined(out);
    Texts all = in;
    all.insert(all.end(), out.begin(), out.end());
    if (sorted(all) != Texts{"a", "b", "c", "d"})
        return "acked without publish, or the other way: " + joined(all);
    for (const std::string text : {"a", "b", "d"}) {
        if (told.count("done " + text) != 0 && std::count(out.begin(), out.end(), text) != 1)
            return "LOST transaction " + text;
    }
    // The client asks what became of them, and repeats what it does not know.
    const std::uint64_t handle = driver.producer("tx");
    const auto opened = driver.answer<engine::ProducerAnswer>();
    if (!opened) return "the producer does not open";
    const Texts names{"a", "b", "c", "d"};
    for (engine::Sequence i = 1; i <= opened->mark; ++i) {
        const bool open =
            std::any_of(opened->open.begin(), opened->open.end(),
                        [&](const auto& range) { return range.first <= i && i <= range.last; });
        const bool happened = std::count(out.begin(), out.end(), names[i - 1]) == 1;
        if (open == happened) return "the producer's mark lies about transaction " + names[i - 1];
        if (open) continue;
        transact(driver, handle, i, nullptr, names[i - 1]);
        const auto again = driver.answer<engine::TransactionAnswer>();
        if (!again || !again->duplicate) return "a repeat is not taken for one: " + names[i - 1];
    }
    if (sorted(driver.texts("out")) != out) return "a repeat was stored again";
    driver.subscribe(5, "in");
    return driver.deliveries().size() == in.size() ? "" : "not all that is left is delivered";
}

// G65
TEST(EngineCrash, ATransactionIsThereWithAllItsPartsOrNotAtAll) {
    expect_clean({"transactions", run_transactions, check_transactions});
}

// ---- schedules: records 40 to 45 ----

constexpr std::uint64_t firings = 5;

engine::Schedule every_minute(const EngineDriver& driver) {
    engine::Schedule schedule;
    schedule.name = "s";
    schedule.cron = "* * * * *";
    schedule.zone = "UTC";
    schedule.message = driver.message("q", "");
    schedule.next_ms = EngineDriver::next_minute(driver.now().wall_ms);
    return schedule;
}

void run_schedule(EngineDriver& driver) {
    driver.declare("q");
    driver.engine().set_schedule(EngineDriver::session, driver.next_request(), every_minute(driver),
                                 false, driver.now());
    driver.turn();
    driver.tell("set");
    for (std::uint64_t i = 1; i <= firings; ++i) {
        driver.pass_ms(EngineDriver::minute_ms);
        driver.tell("fired " + std::to_string(i));
        if (i == 2) driver.checkpoint();
    }
}

// As many messages as the schedule says, each for another time.
std::string check_fired(EngineDriver& driver, const engine::Schedule& schedule) {
    const Texts ids = sorted(driver.texts("q"));
    if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) return "fired twice";
    return ids.size() == schedule.fired ? "" : "fired " + std::to_string(ids.size()) + " times";
}

std::string check_schedule(EngineDriver& driver, const std::set<std::string>& told) {
    const engine::Schedule* schedule = driver.engine().schedule("s");
    if (schedule == nullptr) return told.count("set") != 0 ? "LOST schedule" : "";
    if (std::string wrong = check_fired(driver, *schedule); !wrong.empty()) return wrong;
    if (schedule->fired < count_of(told, "fired")) return "LOST a message of the schedule";
    // It goes on where it was: in the end each minute has had its message.
    driver.engine().plan_schedules(driver.now());
    driver.pass_ms(0);
    const std::uint64_t end = EngineDriver::begin_ms + firings * EngineDriver::minute_ms;
    while (driver.now().wall_ms < end) driver.pass_ms(EngineDriver::minute_ms);
    schedule = driver.engine().schedule("s");
    if (schedule->fired + schedule->skipped != firings)
        return "in the end it fired " + std::to_string(schedule->fired) + " times";
    return check_fired(driver, *schedule);
}

// G72
TEST(EngineCrash, AScheduleFiresOncePerDueTimeWhateverHappens) {
    expect_clean({"schedule", run_schedule, check_schedule});
}

void run_schedule_changes(EngineDriver& driver) {
    driver.declare("q");
    const auto command = [&](auto&& act) {
        act(driver.engine(), driver.next_request());
        driver.turn();
    };
    const auto pause = [&](bool paused) {
        command([&](engine::Engine& engine, std::uint64_t request) {
            engine.pause_schedule(EngineDriver::session, request, "s", paused,
                                  EngineDriver::next_minute(driver.now().wall_ms), driver.now());
        });
        driver.tell(paused ? "paused" : "resumed");
    };
    command([&](engine::Engine& engine, std::uint64_t request) {
        engine.set_schedule(EngineDriver::session, request, every_minute(driver), false,
                            driver.now());
    });
    driver.pass_ms(EngineDriver::minute_ms);
    pause(true);
    driver.pass_ms(3 * EngineDriver::minute_ms);
    driver.checkpoint();
    pause(false);
    driver.pass_ms(EngineDriver::minute_ms);
    // Nobody looked for long: missed times.
    driver.pass_ms(10 * EngineDriver::minute_ms);
    command([&](engine::Engine& engine, std::uint64_t request) {
        engine.delete_schedule(EngineDriver::session, request, "s", driver.now());
    });
    driver.tell("deleted");
}

std::string check_schedule_changes(EngineDriver& driver, const std::set<std::string>& told) {
    const engine::Schedule* schedule = driver.engine().schedule("s");
    if (schedule == nullptr) {
        const bool may_be = told.count("paused") == 0 || told.count("resumed") != 0;
        return may_be ? "" : "LOST schedule";
    }
    if (told.count("deleted") != 0) return "a deleted schedule is there again";
    if (told.count("paused") != 0 && told.count("resumed") == 0 && !schedule->paused &&
        schedule->next_ms <= driver.now().wall_ms) {
        return "it fires although it was paused";
    }
    return check_fired(driver, *schedule);
}

// G72
TEST(EngineCrash, APausedScheduleStaysPausedAndADeletedOneDeleted) {
    expect_clean({"changes of a schedule", run_schedule_changes, check_schedule_changes});
}

// ---- limits ----

constexpr std::size_t limit = 3;
constexpr std::size_t published = 8;

void run_limits(EngineDriver& driver) {
    engine::QueueOptions dropping;
    dropping.policy.max_messages = limit;
    engine::QueueOptions letters = dropping;
    letters.policy.overflow = engine::Overflow::dead_letter_head;
    letters.policy.dead_letter_key = "dead";
    driver.declare("dead");
    driver.declare("newest", dropping);
    driver.declare("letters", letters);
    const std::uint64_t first = driver.producer("first");
    const std::uint64_t second = driver.producer("second");
    for (std::size_t i = 1; i <= published; ++i) {
        driver.publish(first, "newest", {std::to_string(i)});
        driver.tell("newest " + std::to_string(i));
        driver.publish(second, "letters", {std::to_string(i)});
        driver.tell("letters " + std::to_string(i));
        if (i == 5) driver.checkpoint();
    }
}

std::string check_limits(EngineDriver& driver, const std::set<std::string>& told) {
    driver.turn();
    const Texts newest = driver.texts("newest");
    const Texts letters = driver.texts("letters");
    if (newest.size() > limit || letters.size() > limit) return "more than the limit";
    const std::size_t last = newest.empty() ? 0 : std::stoul(newest.back());
    for (std::size_t i = 0; i < newest.size(); ++i) {
        if (newest[i] != std::to_string(last - newest.size() + 1 + i))
            return "not the newest are left: " + joined(newest);
    }
    if (newest.size() != std::min(last, limit)) return "dropped too much: " + joined(newest);
    if (last < count_of(told, "newest")) return "LOST the newest message";
    Texts all = driver.texts("dead");
    all.insert(all.end(), letters.begin(), letters.end());
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i] != std::to_string(i + 1)) return "dead letters and rest: " + joined(all);
    }
    if (all.size() < count_of(told, "letters")) return "LOST a dead letter: " + joined(all);
    if (driver.view("letters").leaving != 0) return "something does not arrive";
    // And it goes on.
    driver.publish(driver.producer("after"), "letters", {std::to_string(all.size() + 1)});
    const std::size_t kept = std::min(all.size() + 1, limit);
    if (driver.view("letters").name.empty()) return "";
    return driver.view("letters").ready == kept ? "" : "the limit does not count any more";
}

// G24
TEST(EngineCrash, ALimitDropsOrDeadLettersEachMessageOnce) {
    expect_clean({"limits", run_limits, check_limits});
}

// ---- ordered queues with retries ----

void run_ordered(EngineDriver& driver) {
    engine::QueueOptions options;
    options.ordered = true;
    driver.declare("q", options);
    const std::uint64_t handle = driver.producer("p");
    driver.publish(handle, "q", {"a:1", "a:2", "b:1"});
    driver.publish(handle, "q", {"a:3", "b:2", "c:1"});
    driver.subscribe(5, "q");
    for (int round = 0; round < 12; ++round) {
        for (const Got& got : driver.deliveries()) {
            // The first of a fails twice; b goes on meanwhile.
            if (got.payload == "a:1" && got.attempt < 3) {
                driver.nack(5, got, 5'000);
            } else if (got.payload != "a:3") {
                driver.ack(5, got);
            }
        }
        if (round == 1) driver.checkpoint();
        driver.pass_ms(1'000);
    }
}

std::string check_ordered(EngineDriver& driver, const std::set<std::string>& told) {
    std::map<std::string, std::string> last;
    std::set<std::string> came;
    if (driver.view("q").name.empty())
        return count_of(told, "confirmed") == 0 ? "" : "LOST the queue";
    driver.subscribe(5, "q");
    for (int round = 0; round < 40; ++round) {
        std::vector<Got> got = driver.deliveries();
        std::set<std::string> out;
        for (const Got& one : got) {
            const std::string key = one.payload.substr(0, 1);
            if (!out.insert(key).second) return "two of one key are out";
            if (last[key] >= one.payload) return one.payload + " comes behind " + last[key];
            last[key] = one.payload;
            if (!came.insert(one.payload).second) return one.payload + " comes twice";
            if (told.count("acked " + one.payload) != 0) return one.payload + " had been acked";
            if (told.count("failed " + one.payload) != 0 && one.attempt < 2)
                return one.payload + " forgot that it had failed";
        }
        for (const Got& one : got) driver.ack(5, one);
        driver.pass_ms(1'000);
    }
    const Texts names{"a:1", "a:2", "b:1", "a:3", "b:2", "c:1"};
    for (std::size_t i = 0; i < names.size(); ++i) {
        const bool stored = told.count("confirmed " + std::to_string(i + 1)) != 0;
        if (stored && came.count(names[i]) == 0 && told.count("may " + names[i]) == 0)
            return "LOST " + names[i];
    }
    const engine::QueueView left = driver.view("q");
    return left.ready + left.delayed + left.unacked == 0 ? "" : "something never comes";
}

// G62, G63
TEST(EngineCrash, AnOrderedQueueKeepsTheOrderOfKeysThroughItsRetries) {
    expect_clean({"ordered", run_ordered, check_ordered});
}

}  // namespace
}  // namespace ferry::crash
