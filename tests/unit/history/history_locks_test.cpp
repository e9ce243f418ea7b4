#include "story.hpp"

namespace ferry::history {
namespace {

constexpr std::uint64_t name = 3;

class Locks : public Story {
public:
    /// Told now, and kept for so long.
    Locks& grant(std::uint64_t token, std::uint32_t to, std::uint64_t for_ms) {
        Event& event = add(What::lock, Type::ok, name, to);
        event.lease = token;
        if (for_ms != 0) event.expires_ns = (now_ms + for_ms) * 1'000'000;
        return *this;
    }
    Locks& let_go(std::uint64_t token, std::uint32_t from) {
        add(What::unlock, Type::invoke, name, from).lease = token;
        return *this;
    }
    Locks& after(std::uint64_t ms) {
        wait_ms(ms);
        return *this;
    }
    Locks& finish() {
        drained();
        return *this;
    }
};

TEST(Locks, HaveOneHolderAtATime) {
    expect_clean(Locks().grant(10, 1, 50).let_go(10, 1).grant(20, 2, 50).finish());
    expect_clean(Locks().grant(10, 1, 50).after(60).grant(20, 2, 50).finish());
    expect_only(Locks().grant(10, 1, 50).after(10).grant(20, 2, 50).finish(),
                {Violation::double_lock});
    // That somebody else, or under another token, asked to let go ends nothing.
    expect_only(Locks().grant(10, 1, 50).let_go(10, 2).grant(20, 2, 50).finish(),
                {Violation::double_lock});
    expect_only(Locks().grant(10, 1, 50).let_go(9, 1).grant(20, 2, 50).finish(),
                {Violation::double_lock});
}

TEST(Locks, AreKeptByRenewing) {
    const auto renewed = [] { return Locks().grant(10, 1, 50).after(40).grant(10, 1, 50); };
    expect_clean(renewed().after(60).grant(20, 2, 50).finish());
    expect_only(renewed().after(20).grant(20, 2, 50).finish(), {Violation::double_lock});
}

TEST(Locks, WhoseTimeNobodyKnowsAreNotHeldForSure) {
    expect_clean(Locks().grant(10, 1, 0).grant(20, 2, 50).finish());
}

TEST(Locks, MayHaveSeveralPermits) {
    Locks story;
    story.rules.lock_permits[name] = 2;
    story.grant(20, 1, 50).grant(10, 2, 50);
    Locks good = story;
    expect_clean(good.finish());
    expect_only(story.grant(30, 3, 50).finish(), {Violation::double_lock});
}

TEST(Locks, GiveTokensThatGrow) {
    expect_only(Locks().grant(10, 1, 0).grant(9, 2, 0).finish(), {Violation::lock_token});
    expect_only(Locks().grant(10, 1, 0).grant(10, 2, 0).finish(), {Violation::lock_token});
    // Told together, when a sync was over that took longer than the first one lasted.
    Locks together;
    together.grant(10, 1, 0).grant(9, 2, 0).finish();
    together.rules.tolerance_ns = 2'000'000;
    expect_clean(together);
}

}  // namespace
}  // namespace ferry::history
