#include "client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <string>
#include <thread>

#include "ferry/platform/assert.hpp"
#include "frames.hpp"

namespace ferry::floor {
namespace {

using Clock = std::chrono::steady_clock;

class Socket {
public:
    explicit Socket(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(port);
        FERRY_ASSERT(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
                     "the server listens");
        const int one = 1;
        setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    ~Socket() { close(fd_); }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    void send(const std::string& bytes) const {
        for (std::size_t at = 0; at < bytes.size();) {
            const ssize_t sent = ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
            FERRY_ASSERT(sent > 0, "the server takes what it is sent");
            at += static_cast<std::size_t>(sent);
        }
    }

    void receive(FrameBuffer& into) const {
        const MutableBytes room = into.room(1U << 20);
        const ssize_t got = recv(fd_, room.data(), room.size(), 0);
        FERRY_ASSERT(got > 0, "the server stays to the end");
        into.filled(static_cast<std::size_t>(got));
    }

private:
    int fd_;
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
