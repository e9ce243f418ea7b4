#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/runtime.hpp"
#include "inbox_rig.hpp"

namespace ferry::consumer {
namespace {

using test::eventually;
using test::FakeQueue;
using test::InboxRig;
using test::make_incoming;
using test::outbox_id;

TEST(InboxSharing, ParallelCallsShareTransactionsAndEachHasItsOwnFate) {
    InboxRig rig;
    auto inbox = rig.inbox();
    std::vector<std::thread> threads;
    std::atomic<int> failed{0};
    for (std::uint64_t t = 0; t < 8; ++t) {
        threads.emplace_back([&, t] {
            for (std::uint64_t i = 0; i < 50; ++i) {
                const auto message = make_incoming({"x", outbox_id(t * 50 + i + 1)});
                const Handled handled = inbox->apply(message, [&](Effects& effects) {
                    InboxRig::effect(effects);
                    return i % 10 == 9 ? Handled::retry("every tenth") : Handled::done();
                });
                if (handled.kind != Handled::Kind::done) ++failed;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(failed, 40);
    EXPECT_EQ(rig.effects(), 360);
    EXPECT_EQ(inbox->figures().applied, 360U);
    EXPECT_LT(inbox->figures().transactions, 400U);
}

TEST(InboxSharing, TheSameMessageOnManyThreadsHasOneEffect) {
    InboxRig rig;
    auto inbox = rig.inbox();
    auto other = rig.inbox();  // C4: a second process under the same name
    std::vector<std::thread> threads;
    std::atomic<int> fresh{0};
    for (int t = 0; t < 6; ++t) {
        threads.emplace_back([&, t] {
            Inbox& mine = t % 2 == 0 ? *inbox : *other;
            for (std::uint64_t i = 1; i <= 40; ++i) {
                Handled handled;
                do {
                    handled = mine.apply(make_incoming({"x", outbox_id(i)}), InboxRig::effect);
                } while (handled.kind == Handled::Kind::later);
                if (!handled.duplicate) ++fresh;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(fresh, 40);
    EXPECT_EQ(rig.effects(), 40);
}

TEST(InboxSharing, ACommitThatFailsFailsAllWhoJoinedIt) {
    InboxRig rig;
    auto inbox = rig.inbox();
    InboxRig::must(rig.database->run(
        "CREATE TABLE parent(id INTEGER PRIMARY KEY);"
        "CREATE TABLE child(id INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)"));
    const Handled handled = inbox->apply(make_incoming({"x", outbox_id(1)}), [](Effects& effects) {
        effects.database().run("PRAGMA defer_foreign_keys=ON").ignore("a test");
        InboxRig::effect(effects);
        return Handled::done();
    });
    EXPECT_EQ(handled.kind, Handled::Kind::done);
    // A handler that ends the transaction itself: nothing is taken for done.
    const Handled ended = inbox->apply(make_incoming({"x", outbox_id(2)}), [](Effects& effects) {
        effects.database().run("ROLLBACK").ignore("a handler that breaks its contract");
        return Handled::done();
    });
    EXPECT_NE(ended.kind, Handled::Kind::done);
    EXPECT_EQ(inbox->apply(make_incoming({"x", outbox_id(3)}), InboxRig::effect).kind,
              Handled::Kind::done);
    EXPECT_EQ(rig.effects(), 2);
}

// C10, C2, C3, I3, I4: everything at once over a queue whose connection breaks.
TEST(InboxSharing, OverBreakingConnectionsEachMessageHasOneEffectInTheOrderOfItsKey) {
    InboxRig rig;
    auto inbox = rig.inbox();
    FakeQueue queue;
    RuntimeOptions options;
    options.inbox = inbox.get();
    options.retry.first = Duration(1);
    options.retry.cap = Duration(4);
    options.retry.attempts_max = 1'000'000;
    options.retry.deliveries_max = 1'000'000;
    std::atomic<int> calls{0};
    auto runtime = Runtime::start(
        queue.source(20),
        [&](const Incoming& message) {
            return inbox->apply(message, [&](Effects& effects) {
                effects.run("INSERT INTO effect(id, who) VALUES(?1, ?2)",
                            effects.message().payload(),
                            effects.message().properties().ordering_key);
                return ++calls % 7 == 0 ? Handled::retry("now and then") : Handled::done();
            });
        },
        options);
    ASSERT_TRUE(runtime.ok());
    for (std::uint64_t i = 1; i <= 300; ++i) {
        queue.send({std::to_string(i), outbox_id(i), "key" + std::to_string(i % 3)});
        if (i % 25 == 0) queue.break_connection();
        if (i % 40 == 0) queue.refuse_acks(true);
        if (i % 40 == 20) queue.refuse_acks(false);
    }
    queue.refuse_acks(false);
    // Acks that were refused left messages unacked: only a broken connection brings them again.
    EXPECT_TRUE(eventually([&] { return rig.effects() == 300; }));
    queue.break_connection();
    ASSERT_TRUE(eventually([&] { return queue.unsettled() == 0; }));
    EXPECT_EQ(rig.effects(), 300);
    EXPECT_EQ(rig.count("SELECT count(*) FROM (SELECT CAST(id AS INTEGER) < lag(CAST(id AS "
                        "INTEGER)) OVER (PARTITION BY who ORDER BY rowid) AS wrong FROM effect) "
                        "WHERE wrong"),
              0);
    EXPECT_TRUE(runtime.value()->stop(Duration(20'000)).ok());
}

}  // namespace
}  // namespace ferry::consumer
