#include "client.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <string>
#include <thread>

#include "ferry/platform/assert.hpp"
#include "frames.hpp"
#include "loopback_socket.hpp"

namespace ferry::floor {
namespace {

using Clock = std::chrono::steady_clock;

class Socket : public bench::LoopbackSocket {
public:
    using LoopbackSocket::LoopbackSocket;

    void receive(FrameBuffer& into) const {
        const MutableBytes room = into.room(1U << 20);
        const ssize_t got = recv(fd(), room.data(), room.size(), 0);
        FERRY_ASSERT(got > 0, "the server stays to the end");
        into.filled(static_cast<std::size_t>(got));
    }
};

/// Takes every message and acks all there is after each read.
void consume(const Socket& socket, std::uint64_t count) {
    FrameBuffer buffer;
    std::uint64_t taken = 0;
    std::uint64_t checksum = 0;
    while (taken < count) {
        socket.receive(buffer);
        const std::uint64_t before = taken;
        while (const auto frame = buffer.next()) {
            checksum += walk(*frame);
            taken += frame->number;
        }
        if (taken == before) continue;
        std::string ack;
        put_frame(ack, Kind::ack, taken);
        socket.send(ack);
    }
    FERRY_ASSERT(checksum != 0, "the walk was done");
}

struct Sent {
    std::uint64_t upto;
    Clock::time_point at;
};

void produce(const Socket& socket, const Load& load, std::vector<double>& confirm_us) {
    const std::string payload(load.size, 'x');
    const std::uint64_t window = std::max(load.window, load.batch);
    FrameBuffer buffer;
    std::deque<Sent> under_way;
    std::uint64_t sent = 0;
    std::uint64_t confirmed = 0;
    std::string frame;
    while (confirmed < load.count) {
        while (sent < load.count && sent - confirmed + load.batch <= window) {
            const std::uint64_t batch = std::min(load.batch, load.count - sent);
            frame.clear();
            put_publish(frame, batch, payload);
            sent += batch;
            under_way.push_back({sent, Clock::now()});
            socket.send(frame);
        }
        socket.receive(buffer);
        while (const auto confirm = buffer.next()) confirmed = confirm->number;
        const auto now = Clock::now();
        while (!under_way.empty() && under_way.front().upto <= confirmed) {
            const std::chrono::duration<double, std::micro> took = now - under_way.front().at;
            confirm_us.push_back(took.count());
            under_way.pop_front();
        }
    }
}

}  // namespace

ClientReport drive(std::uint16_t port, const Load& load) {
    ClientReport report;
    // The consumer's hello is handled before the producer connects: one loop takes connections in
    // order.
    std::unique_ptr<Socket> consumer;
    if (load.deliver) {
        consumer = std::make_unique<Socket>(port);
        std::string hello;
        put_frame(hello, Kind::consumer, 0);
        consumer->send(hello);
    }
    const Socket producer(port);
    const auto start = Clock::now();
    std::thread taking;
    if (consumer != nullptr) taking = std::thread([&] { consume(*consumer, load.count); });
    produce(producer, load, report.confirm_us);
    if (taking.joinable()) taking.join();
    report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    std::sort(report.confirm_us.begin(), report.confirm_us.end());
    return report;
}

}  // namespace ferry::floor
