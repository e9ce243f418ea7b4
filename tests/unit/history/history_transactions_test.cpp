#include "story.hpp"

namespace ferry::history {
namespace {

constexpr std::uint32_t results = 2;

/// Message 1 is taken, and acked in one with the publish of 2 and 3 to another queue.
class Exchange : public Story {
public:
    Exchange() { publish(1).deliver(1); }

    Exchange& begin(std::uint64_t group = 5) {
        settle(What::ack, Type::invoke, 1).history.back().group = group;
        queue = results;
        for (const std::uint64_t id : {2U, 3U}) ask(id).history.back().group = group;
        queue = 1;
        return *this;
    }
    Exchange& end(Type how, std::uint64_t group = 5) {
        settle(What::ack, how, 1).history.back().group = group;
        queue = results;
        for (const std::uint64_t id : {2U, 3U}) told(id, how).history.back().group = group;
        queue = 1;
        return *this;
    }
    Exchange& result(std::uint64_t id) {
        queue = results;
        deliver(id).ack(id);
        queue = 1;
        return *this;
    }
    Exchange& again() {
        deliver(1, 9000, 2).ack(1, 9000);
        return *this;
    }
    Exchange& finish() {
        drained();
        return *this;
    }
};

TEST(Transactions, ThatWereCommittedHaveAllTheirParts) {
    expect_clean(Exchange().begin().end(Type::ok).result(2).result(3).finish());
    expect_only(Exchange().begin().end(Type::ok).result(2).finish(), {Violation::lost_suffix});
    expect_only(Exchange().begin().end(Type::ok).result(2).result(3).again().finish(),
                {Violation::acked_redelivery});
}

TEST(Transactions, ThatWereRefusedHaveNone) {
    expect_clean(Exchange().begin().end(Type::fail).again().finish());
    expect_only(Exchange().begin().end(Type::fail).result(3).again().finish(),
                {Violation::phantom_failed});
    expect_only(Exchange().begin().end(Type::fail).finish(), {Violation::lost_delivery});
}

TEST(Transactions, ThatNobodyHeardOfAreThereOrNot) {
    expect_clean(Exchange().begin().end(Type::info).result(2).result(3).finish());
    expect_clean(Exchange().begin().end(Type::info).again().finish());
    expect_clean(Exchange().begin().result(3).result(2).finish());
}

TEST(Transactions, ThatNobodyHeardOfAreNeverHalfThere) {
    // Stored, and what it acked comes again.
    expect_only(Exchange().begin().end(Type::info).result(2).result(3).again().finish(),
                {Violation::torn_transaction});
    // One of its messages, not the other.
    expect_only(Exchange().begin().end(Type::info).result(3).finish(),
                {Violation::torn_transaction});
    // Its ack took effect, its messages are not there.
    expect_only(Exchange().begin().end(Type::info).finish(), {Violation::torn_transaction});
}

TEST(Transactions, AreNotTornByAPurge) {
    Exchange story;
    story.begin().end(Type::info).result(3);
    story.queue = results;
    story.add(What::purge, Type::invoke, 0, 2);
    story.add(What::purge, Type::ok, 0, 2);
    story.queue = 1;
    expect_clean(story.finish());
}

TEST(Transactions, AreJudgedByWhatNoOtherTryMayHaveStored) {
    Exchange story;
    story.begin().end(Type::info);
    story.deliver(1, 9000, 2).settle(What::ack, Type::invoke, 1, 9000);
    story.history.back().group = 6;
    story.queue = results;
    for (const std::uint64_t id : {2U, 3U}) story.ask(id).history.back().group = 6;
    story.queue = 1;
    expect_clean(story.result(2).result(3).finish());
}

}  // namespace
}  // namespace ferry::history
