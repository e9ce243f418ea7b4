#include <gtest/gtest.h>

#include "session_rig.hpp"

namespace ferry::server {
namespace {

using wire::Verb;

void put_hello_with(wire::Buffer& out, std::string_view capability) {
    put_frame(out, Verb::hello, 1, 2, [&](wire::Encoder& e) {
        e.uint(1).map(1).str("capabilities").array(1).str(capability);
    });
}

// A connection with a queue "q" and a producer of its own.
SessionRig::Peer& publisher(SessionRig& rig, std::string_view capability, std::string_view name) {
    SessionRig::Peer& peer = rig.connect();
    wire::Buffer bytes;
    put_hello_with(bytes, capability);
    put_declare(bytes, 2, "q");
    put_producer(bytes, 3, name);
    peer.feed(bytes);
    rig.turn();
    peer.link.buffer.clear();
    return peer;
}

void publish(SessionRig& rig, SessionRig::Peer& peer, std::uint64_t sequence,
             const std::string& payload = "x") {
    wire::Buffer bytes;
    put_publish(bytes, sequence, 1, "q", {payload});
    peer.feed(bytes);
    rig.turn();
}

// G118
TEST(Overload, TellsPublishersThatWantToKnowAndGoesOnReadingTheirAcks) {
    SessionRig rig;
    auto& peer = publisher(rig, "blocked", "a");
    publish(rig, peer, 1);
    rig.set_blocked(Blocked::memory);
    EXPECT_EQ(count_of(peer.link.buffer, Verb::blocked), 1U);
    EXPECT_FALSE(peer.link.paused());
    publish(rig, peer, 2);  // was under way
    EXPECT_EQ(count_of(peer.link.buffer, Verb::confirm), 2U);
    EXPECT_FALSE(peer.link.paused());
    rig.set_blocked(Blocked::no);
    EXPECT_EQ(count_of(peer.link.buffer, Verb::unblocked), 1U);
}

// G118
TEST(Overload, StopsReadingFromPublishersThatDoNotListenAndReadsThemAgain) {
    SessionRig rig;
    auto& deaf = publisher(rig, "something_else", "a");
    auto& stubborn = publisher(rig, "blocked", "b");
    rig.set_blocked(Blocked::memory);
    publish(rig, deaf, 1);
    EXPECT_TRUE(deaf.link.paused());
    EXPECT_EQ(count_of(deaf.link.buffer, Verb::blocked), 0U);
    EXPECT_EQ(count_of(deaf.link.buffer, Verb::confirm), 1U) << "what was read is kept";
    for (std::uint64_t i = 1; i <= 20; ++i) publish(rig, stubborn, i, std::string(64'000, 'x'));
    EXPECT_TRUE(stubborn.link.paused());
    EXPECT_EQ(count_of(stubborn.link.buffer, Verb::blocked), 1U) << "told at its first publish";
    rig.set_blocked(Blocked::no);
    EXPECT_FALSE(deaf.link.paused());
    EXPECT_FALSE(stubborn.link.paused());
    publish(rig, deaf, 2);
    EXPECT_EQ(count_of(deaf.link.buffer, Verb::confirm), 2U);
}

// G118
TEST(Overload, LeavesConsumersAloneAndTellsThemNothing) {
    SessionRig rig;
    auto& writer = publisher(rig, "blocked", "a");
    publish(rig, writer, 1);
    auto& reader = rig.connect();
    wire::Buffer bytes;
    put_hello_with(bytes, "blocked");
    reader.feed(bytes);
    rig.turn();
    rig.set_blocked(Blocked::memory);
    bytes.clear();
    put_subscribe(bytes, 2, "q", 10);
    reader.feed(bytes);
    rig.turn();
    EXPECT_EQ(count_of(reader.link.buffer, Verb::deliver), 1U);
    bytes.clear();
    put_ack(bytes, 3, 1, 1);
    reader.feed(bytes);
    rig.turn();
    EXPECT_EQ(count_of(reader.link.buffer, Verb::settled), 1U);
    EXPECT_EQ(count_of(reader.link.buffer, Verb::blocked), 0U);
    EXPECT_FALSE(reader.link.paused());
}

TEST(Overload, TellsWhetherMemoryOrDiskIsShort) {
    SessionRig rig;
    auto& peer = publisher(rig, "blocked", "a");
    publish(rig, peer, 1);
    rig.set_blocked(Blocked::disk);
    publish(rig, peer, 2);
    EXPECT_FALSE(peer.link.paused()) << "the disk refuses each message by itself";
    rig.set_blocked(Blocked::memory);
    EXPECT_EQ(count_of(peer.link.buffer, Verb::blocked), 2U);
}

}  // namespace
}  // namespace ferry::server
