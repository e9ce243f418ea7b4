// Memory runs out at every single allocation, one run for each. The broker may end there, as if it
// were killed; what it promised is on the disk. An application's libraries tell it, change nothing
// by halves, and work when there is memory again.

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>

#include "application.hpp"
#include "child.hpp"
#include "failing_memory.hpp"
#include "session_rig.hpp"

namespace ferry::sweep {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t goal = 5'000;
constexpr unsigned messages = 6;
constexpr std::uint64_t points_max = 100'000;

std::uint64_t points_tried = 0;

class AllocationSweep : public testing::Test {
protected:
    AllocationSweep() {
        const std::string parent =
            fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path().string();
        std::string name = parent + "/ferry-memory-XXXXXX";
        folder_ = ::mkdtemp(name.data());
    }
    ~AllocationSweep() override { fs::remove_all(folder_); }

    std::string fresh() {
        const std::string place = folder_ + "/run";
        fs::remove_all(place);
        fs::create_directory(place);
        return place;
    }
    /// Tries every `stride`-th allocation. `one` says whether one failed: else it was the last.
    void sweep(std::uint64_t stride, const std::function<bool(std::uint64_t at)>& one) {
        for (std::uint64_t at = 1; at < points_max && !HasFailure(); at += stride) {
            SCOPED_TRACE("allocation " + std::to_string(at));
            if (!one(at)) return;
            ++points_tried;
        }
    }

    std::string folder_;
};

// ---- the broker ----

constexpr int done_without_failure = 0;
constexpr int done_in_spite_of_it = 7;  // no status that a sanitizer has

/// A client's whole life. Told: p published, c confirmed, m may be acked, a acked.
int serve(const std::string& place, std::uint64_t at) {
    const auto files = make_posix_file_system();
    fail_allocation(at);
    {
        server::SessionRig rig(files.get(), place + "/log");
        auto& peer = rig.connect();
        wire::Buffer bytes;
        server::put_hello(bytes);
        server::put_declare(bytes, 2, "q");
        server::put_producer(bytes, 3, "p");
        server::put_subscribe(bytes, 4, "q", 4);
        peer.feed(bytes);
        rig.turn();
        for (unsigned i = 1; i <= messages; ++i) {
            bytes.clear();
            server::put_publish(bytes, i, 1, "q", {"message " + std::to_string(i)});
            tell('p', i);
            peer.link.buffer.clear();
            peer.feed(bytes);
            rig.turn();
            for (const server::Said& said : server::frames_in(peer.link.buffer)) {
                if (said.verb == wire::Verb::confirm)
                    tell('c', static_cast<unsigned>(said.request));
            }
            if (i % 3 != 0) continue;
            bytes.clear();
            server::put_ack(bytes, 100 + i, i - 2, i - 1);
            tell('m', i - 2);
            tell('m', i - 1);
            peer.link.buffer.clear();
            peer.feed(bytes);
            rig.turn();
            if (server::count_of(peer.link.buffer, wire::Verb::settled) == 1) {
                tell('a', i - 2);
                tell('a', i - 1);
            }
        }
    }
    const bool struck = allocation_failed();
    fail_allocation(0);
    return struck ? done_in_spite_of_it : done_without_failure;
}

void look_at_log(const std::string& place, const Child& child) {
    const auto files = make_posix_file_system();
    server::SessionRig rig(files.get(), place + "/log");
    const auto view = rig.engine.queue("q", rig.now());
    const auto confirmed = child.all('c');
    const auto may = child.all('m');
    if (!view) {
        EXPECT_TRUE(confirmed.empty()) << "the queue is gone with what was confirmed";
        return;
    }
    std::uint64_t least = 0;
    for (const unsigned number : confirmed) least += may.count(number) == 0 ? 1 : 0;
    EXPECT_GE(view->ready, least) << "LOST";
    EXPECT_LE(view->ready + child.all('a').size(), child.all('p').size()) << "ACKED, or PHANTOM";
}

/// Whether there was an allocation to fail.
bool broker_point(const std::string& place, std::uint64_t at) {
    const Child child = run_child([&] { return serve(place, at); });
    EXPECT_TRUE(child.died() || child.exited(done_without_failure) ||
                child.exited(done_in_spite_of_it))
        << child.text();
    look_at_log(place, child);
    return !child.exited(done_without_failure);
}

TEST_F(AllocationSweep, of_a_broker_loses_nothing_that_it_promised) {
    sweep(23, [&](std::uint64_t at) { return broker_point(fresh(), at); });
}

// ---- an application ----

template <class F>
void as_an_application(F&& call) {
    try {
        call();
    } catch (const std::bad_alloc&) {
        tell('b', 0);
    }
}

int use_libraries(const std::string& place, std::uint64_t at) {
    Application application(place, tell);
    const auto inbox = application.inbox();
    fail_allocation(at);
    as_an_application([&] { application.place_order(1); });
    as_an_application([&] { application.place_order(2); });
    as_an_application([&] { application.relay_once(); });
    as_an_application([&] { application.apply(*inbox, 1); });
    as_an_application([&] { application.apply(*inbox, 2); });
    const bool struck = allocation_failed();
    fail_allocation(0);
    // There is memory again: everything goes on.
    application.place_order(3);
    for (unsigned i = 1; i <= Application::messages; ++i) application.apply(*inbox, i);
    tell('z', 0);
    return struck ? done_in_spite_of_it : done_without_failure;
}

bool application_point(const std::string& place, std::uint64_t at) {
    Application application(place, {});
    application.make();
    const Child child = run_child([&] { return use_libraries(place, at); });
    EXPECT_TRUE(child.exited(done_without_failure) || child.exited(done_in_spite_of_it))
        << child.text();
    EXPECT_EQ(child.all('z').size(), 1U) << "it does not go on when there is memory again";
    EXPECT_EQ(application.judge(child.all('o')), "");
    return !child.exited(done_without_failure);
}

TEST_F(AllocationSweep, of_an_application_leaves_nothing_half_done_and_nothing_stuck) {
    sweep(23, [&](std::uint64_t at) { return application_point(fresh(), at); });
}

// ---- all of them ----

using SlowAllocationSweep = AllocationSweep;

TEST_F(SlowAllocationSweep, of_every_allocation_of_a_broker_loses_nothing) {
    sweep(1, [&](std::uint64_t at) { return broker_point(fresh(), at); });
}

TEST_F(SlowAllocationSweep, of_every_allocation_of_an_application_leaves_nothing_half_done) {
    sweep(1, [&](std::uint64_t at) { return application_point(fresh(), at); });
}

TEST(SlowAllocationSweepEvidence, is_as_much_as_is_promised) {
    if (points_tried == 0) GTEST_SKIP() << "the large runs were not asked for";
    std::cout << "evidence: failed allocations reached " << points_tried << " of " << goal
              << std::endl;
    EXPECT_GE(points_tried * 10, goal * 8);
}

}  // namespace
}  // namespace ferry::sweep

int main(int count, char** arguments) {
    ferry::sweep::watch_sqlite();
    testing::InitGoogleTest(&count, arguments);
    return RUN_ALL_TESTS();
}
