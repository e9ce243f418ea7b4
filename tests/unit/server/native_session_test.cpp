#include <gtest/gtest.h>

#include "session_rig.hpp"

namespace ferry::server {
namespace {

using wire::Buffer;
using wire::Code;
using wire::Verb;

std::vector<std::string> payloads(std::size_t count, std::size_t size = 20) {
    std::vector<std::string> list;
    for (std::size_t i = 0; i < count; ++i) {
        list.push_back(std::to_string(i));
        list.back().resize(size, '.');
    }
    return list;
}

// A conversation with everything hot in it; requests that fail, too.
Buffer conversation() {
    Buffer bytes;
    put_hello(bytes);
    put_declare(bytes, 2, "q");
    put_producer(bytes, 3, "p");
    put_publish(bytes, 1, 1, "q", payloads(50));
    put_subscribe(bytes, 4, "q", 20);
    put_publish(bytes, 51, 1, "q", payloads(30, 700));
    put_publish(bytes, 51, 1, "q", payloads(30, 700));  // again: a duplicate
    put_publish(bytes, 900, 1, "q", payloads(1));       // a gap
    put_publish(bytes, 81, 1, "nowhere", payloads(2));  // dropped
    put_ack(bytes, 5, 1, 10);
    put_subscribe(bytes, 6, "q", 20);  // in use
    put_declare(bytes, 7, "bad name!");
    put_frame(bytes, Verb::queue_show, 8, 1, [](wire::Encoder& e) { e.str("none"); });
    put_frame(bytes, Verb::heartbeat, 0, 0, [](wire::Encoder&) {});
    return bytes;
}

struct Served {
    SessionRig rig;
    SessionRig::Peer& peer;
    Served() : peer(rig.connect()) {
        Buffer bytes;
        put_hello(bytes);
        put_declare(bytes, 2, "q");
        put_producer(bytes, 3, "p");
        peer.feed(bytes);
        rig.turn();
        peer.link.buffer.clear();
    }
    void feed(const Buffer& bytes) {
        peer.feed(bytes);
        rig.turn();
    }
};

// It stopped when so much was said in one turn, and the flush at the turn's end took all of it:
// then nobody told it that there was room, and the rest waited until its leases were over.
TEST(NativeSession, GoesOnDeliveringWhenAFlushTakesAllThatFilledTheConnection) {
    Served served;
    served.peer.link.room = 500;
    Buffer bytes;
    for (std::uint64_t i = 0; i < 20; ++i) put_publish(bytes, i + 1, 1, "q", payloads(1, 100));
    served.feed(bytes);
    bytes.clear();
    put_subscribe(bytes, 4, "q", 100);
    served.feed(bytes);
    served.peer.link.flush();
    EXPECT_EQ(count_of(served.peer.link.taken, Verb::deliver), 20U);
}

TEST(NativeSession, SaysTheSameHoweverTheBytesAreCut) {
    const Buffer bytes = conversation();
    Buffer whole;
    {
        SessionRig rig;
        auto& peer = rig.connect();
        peer.feed(bytes);
        rig.turn();
        whole = peer.link.buffer;
        EXPECT_FALSE(peer.link.finished);
        EXPECT_GE(count_of(whole, Verb::confirm), 2U);
        EXPECT_GE(count_of(whole, Verb::deliver), 1U);
        EXPECT_EQ(count_of(whole, Verb::settled), 1U);
    }
    SeededRandom random(11);
    for (const std::size_t longest : {1U, 3U, 64U, 5000U}) {
        SessionRig rig;
        auto& peer = rig.connect();
        for (std::size_t at = 0; at < bytes.size();) {
            const std::size_t size =
                std::min<std::size_t>(1 + random.below(longest), bytes.size() - at);
            peer.feed(Bytes(bytes).subspan(at, size));
            at += size;
        }
        rig.turn();
        EXPECT_EQ(peer.link.buffer, whole) << "in pieces of at most " << longest;
    }
}

TEST(NativeSession, AsksForExactlyWhatTheNextFrameNeeds) {
    SessionRig rig;
    auto& peer = rig.connect();
    Buffer bytes;
    put_hello(bytes);
    peer.feed(Bytes(bytes).first(2));
    EXPECT_EQ(peer.session.wanted(), 4U);
    peer.feed(Bytes(bytes).subspan(2, 3));
    EXPECT_EQ(peer.session.wanted(), bytes.size());
}

TEST(NativeSession, SurvivesAnyDamageToItsBytesAndTouchesNobodyElse) {
    const Buffer good = conversation();
    SeededRandom random(3);
    SessionRig rig;
    auto& other = rig.connect();
    Buffer hello;
    put_hello(hello);
    other.feed(hello);
    rig.turn();
    for (int round = 0; round < 400; ++round) {
        Buffer bad = good;
        for (std::uint64_t i = 0; i < 1 + random.below(4); ++i) {
            bad[random.below(bad.size())] = static_cast<std::byte>(random.next());
        }
        bad.resize(1 + random.below(bad.size()));
        auto& peer = rig.connect();
        peer.feed(bad);
        rig.turn();
        peer.session.on_closed();
        rig.turn();
    }
    EXPECT_FALSE(other.link.finished);
    other.link.buffer.clear();
    Buffer stats;
    put_frame(stats, Verb::stats, 9, 0, [](wire::Encoder&) {});
    other.feed(stats);
    ASSERT_EQ(frames_in(other.link.buffer).size(), 1U);
    EXPECT_EQ(frames_in(other.link.buffer)[0].verb, Verb::ok);
    EXPECT_EQ(rig.figures.greeting, 0U) << "every connection that said no hello is counted off";
}

TEST(NativeSession, EndsWithAnErrorAfterWhichNothingIsSaidOrTaken) {
    Served served;
    Buffer bytes;
    put_frame(bytes, static_cast<Verb>(99), 5, 0, [](wire::Encoder&) {});
    put_publish(bytes, 1, 1, "q", payloads(5));
    served.feed(bytes);
    const std::vector<Said> said = frames_in(served.peer.link.buffer);
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(said[0].verb, Verb::error);
    EXPECT_EQ(said[0].request, 5U);
    EXPECT_EQ(said[0].third, static_cast<std::uint64_t>(Code::unexpected_verb));
    EXPECT_TRUE(served.peer.link.finished);
    EXPECT_EQ(served.rig.engine.totals().published, 0U);
}

TEST(NativeSession, DeliversNothingWhileTheConnectionIsChokedAndThenInOrder) {
    Served served;
    served.peer.link.is_choked = true;
    Buffer bytes;
    put_subscribe(bytes, 4, "q", 1000);
    for (std::uint64_t i = 0; i < 5; ++i) put_publish(bytes, 1 + 10 * i, 1, "q", payloads(10));
    served.feed(bytes);
    EXPECT_EQ(count_of(served.peer.link.buffer, Verb::deliver), 0U);
    EXPECT_GE(count_of(served.peer.link.buffer, Verb::confirm), 1U) << "confirms overtake";
    served.peer.link.is_choked = false;
    served.peer.session.on_writable();
    std::uint64_t next = 1;
    for (const Said& said : frames_in(served.peer.link.buffer)) {
        if (said.verb != Verb::deliver) continue;
        EXPECT_EQ(said.third, next);
        next += 10;
    }
    EXPECT_EQ(next, 51U);
}

TEST(NativeSession, ReadsFromDiskWhatIsNotInMemoryAndAnswersAPullAfterIt) {
    Served served;
    Buffer bytes;
    put_publish(bytes, 1, 1, "q", payloads(10));
    put_publish(bytes, 11, 1, "q", payloads(10));
    served.feed(bytes);
    served.rig.bodies_fake().forget_memory = true;
    served.peer.link.buffer.clear();
    bytes.clear();
    put_frame(bytes, Verb::pull, 7, 5,
              [](wire::Encoder& e) { e.uint(9).str("q").uint(100).uint(1U << 20).map(0); });
    served.feed(bytes);
    const std::vector<Said> said = frames_in(served.peer.link.buffer);
    ASSERT_EQ(said.size(), 3U);
    EXPECT_EQ(said[0].verb, Verb::deliver);
    EXPECT_EQ(said[1].verb, Verb::deliver);
    EXPECT_EQ(said[2].verb, Verb::ok);
    EXPECT_EQ(said[2].request, 7U);
}

TEST(NativeSession, SettlesWithoutAcksOnlyWhatItSent) {
    Served served;
    served.peer.link.is_choked = true;
    Buffer bytes;
    put_subscribe(bytes, 4, "q", 10, true);
    for (std::uint64_t i = 0; i < 20; ++i) put_publish(bytes, 1 + 10 * i, 1, "q", payloads(10));
    served.feed(bytes);
    EXPECT_EQ(served.rig.engine.totals().acked, 0U);
    served.peer.link.is_choked = false;
    served.peer.session.on_writable();
    served.rig.turn();
    EXPECT_EQ(served.rig.engine.totals().acked, 200U);
}

TEST(NativeSession, IsNotReadWhileItHasTooMuchUnconfirmed) {
    Served served;
    const std::uint32_t most = served.rig.config.connection_unconfirmed_max;
    Buffer bytes;
    for (std::uint64_t first = 1; first <= most + 2000; first += 2000) {
        bytes.clear();
        put_publish(bytes, first, 1, "q", payloads(2000, 1));
        served.peer.feed(bytes);
    }
    EXPECT_TRUE(served.peer.link.paused());
    served.rig.turn();
    EXPECT_FALSE(served.peer.link.paused());
}

TEST(NativeSession, AnswersGoodbyeAfterEverythingElse) {
    Served served;
    Buffer bytes;
    put_publish(bytes, 1, 1, "q", payloads(10));
    put_frame(bytes, Verb::goodbye, 77, 0, [](wire::Encoder&) {});
    served.peer.feed(bytes);
    EXPECT_FALSE(served.peer.link.finished);
    served.rig.turn();
    const std::vector<Said> said = frames_in(served.peer.link.buffer);
    ASSERT_EQ(said.size(), 2U);
    EXPECT_EQ(said[0].verb, Verb::confirm);
    EXPECT_EQ(said[1].verb, Verb::ok);
    EXPECT_EQ(said[1].request, 77U);
    EXPECT_TRUE(served.peer.link.finished);
}

TEST(NativeSession, DrainsByConfirmingFirstAndTellingThen) {
    Served served;
    Buffer bytes;
    put_publish(bytes, 1, 1, "q", payloads(10));
    served.peer.feed(bytes);
    served.peer.session.drain();
    EXPECT_FALSE(served.peer.link.finished);
    served.rig.turn();
    const std::vector<Said> said = frames_in(served.peer.link.buffer);
    ASSERT_EQ(said.size(), 2U);
    EXPECT_EQ(said[0].verb, Verb::confirm);
    EXPECT_EQ(said[1].verb, Verb::error);
    EXPECT_EQ(said[1].third, static_cast<std::uint64_t>(Code::shutting_down));
}

TEST(NativeSession, ClosesPeersThatAreSilentForTwoIntervalsOrNeverSayHello) {
    SessionRig rig;
    auto& stranger = rig.connect();
    auto& silent = rig.connect();
    Buffer bytes;
    put_hello(bytes);
    silent.feed(bytes);
    rig.turn();
    rig.sim_clock().advance_ms(9'900);
    stranger.session.on_tick(rig.sim_clock().now());
    EXPECT_FALSE(stranger.link.finished);
    rig.sim_clock().advance_ms(200);
    stranger.session.on_tick(rig.sim_clock().now());
    EXPECT_TRUE(stranger.link.finished);
    silent.session.on_tick(rig.sim_clock().now());
    EXPECT_FALSE(silent.link.finished);
    rig.sim_clock().advance_ms(2ULL * rig.config.heartbeat_ms);
    silent.link.pauses = 1;  // not read by our own choice: that is no silence
    silent.session.on_tick(rig.sim_clock().now());
    EXPECT_FALSE(silent.link.finished);
    silent.link.pauses = 0;
    rig.sim_clock().advance_ms(2ULL * rig.config.heartbeat_ms);
    silent.session.on_tick(rig.sim_clock().now());
    EXPECT_TRUE(silent.link.finished);
}

}  // namespace
}  // namespace ferry::server
