#include "ferry/http/http_server.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

namespace ferry::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class HttpServerTest : public ::testing::Test {
protected:
    HttpServerTest() {
        HttpHandlers handlers;
        handlers.metrics = [] { return std::string("ferry_up 1\n"); };
        handlers.request_ms_max = 400;
        handlers.ready = [this] {
            return ready_.load() ? Health{} : Health{false, "recovery is running"};
        };
        auto started = HttpServer::start("127.0.0.1", 0, std::move(handlers));
        EXPECT_TRUE(started.ok());
        server_ = std::move(started).value();
    }

    [[nodiscard]] int connected() const {
        const int fd = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(server_->port());
        EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        return fd;
    }

    /// Sends the bytes as they are and returns everything until the server closes.
    [[nodiscard]] std::string send(const std::string& request) const {
        const int fd = connected();
        EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(request.size()));
        shutdown(fd, SHUT_WR);
        std::string answer;
        char buffer[4096];
        for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
            answer.append(buffer, static_cast<std::size_t>(n));
        }
        close(fd);
        return answer;
    }

    [[nodiscard]] std::string get(const std::string& path, const std::string& host = "127.0.0.1",
                                  const std::string& method = "GET") const {
        return send(method + " " + path + " HTTP/1.1\r\nHost: " + host +
                    "\r\nConnection: close\r\n\r\n");
    }

    std::atomic<bool> ready_{true};
    std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, MetricsAreServedInThePrometheusTextFormat) {
    const std::string answer = get("/metrics");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(answer, HasSubstr("text/plain; version=0.0.4"));
    EXPECT_THAT(answer, HasSubstr("ferry_up 1\n"));
}

TEST_F(HttpServerTest, HeadHasTheHeadersAndNoBody) {
    const std::string answer = get("/metrics", "localhost", "HEAD");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(answer, Not(HasSubstr("ferry_up")));
}

TEST_F(HttpServerTest, ReadinessFollowsTheCallbackAndGivesTheReason) {
    EXPECT_THAT(get("/health/ready"), StartsWith("HTTP/1.1 200"));
    ready_.store(false);
    const std::string answer = get("/health/ready");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
    EXPECT_THAT(answer, HasSubstr("recovery is running"));
    EXPECT_THAT(get("/health/live"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, OtherPathsAndMethodsAreRefused) {
    EXPECT_THAT(get("/etc/passwd"), StartsWith("HTTP/1.1 404"));
    EXPECT_THAT(get("/metrics", "localhost", "DELETE"), StartsWith("HTTP/1.1 405"));
    EXPECT_THAT(send("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"),
                StartsWith("HTTP/1.1 405"));
    EXPECT_THAT(send("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"),
                StartsWith("HTTP/1.1 400"));
}

TEST_F(HttpServerTest, AForeignHostNameIsRefusedOnLoopback) {
    EXPECT_THAT(get("/metrics", "evil.example"), StartsWith("HTTP/1.1 403"));
    EXPECT_THAT(get("/metrics", "127.0.0.1.evil.example"), StartsWith("HTTP/1.1 403"));
    EXPECT_THAT(get("/metrics", "localhost.evil.example:80"), StartsWith("HTTP/1.1 403"));
    EXPECT_THAT(get("/metrics", "LOCALHOST:7421"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(get("/metrics", "[::1]:7421"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(send("GET /metrics HTTP/1.0\r\n\r\n"), HasSubstr(" 400 "));
}

TEST_F(HttpServerTest, GarbageAndHugeHeadersAreRefusedAndTheNextRequestIsServed) {
    (void)send("\x16\x03\x01\x02garbage\r\n\r\n");
    const std::string huge =
        send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(200'000, 'x') + "\r\n\r\n");
    EXPECT_THAT(huge, Not(HasSubstr(" 200 ")));
    EXPECT_THAT(get("/metrics"), StartsWith("HTTP/1.1 200"));
}

// F16
TEST_F(HttpServerTest, ClientsThatDripTheirRequestsDoNotKeepTheirPlaces) {
    // As many as there are places, each of which says something again and again.
    std::vector<int> drips;
    for (int i = 0; i < 64; ++i) drips.push_back(connected());
    std::size_t open = drips.size();
    while (open > 0) {
        open = 0;
        for (const int fd : drips) {
            char byte = 0;
            const bool closed = recv(fd, &byte, 1, MSG_DONTWAIT) == 0 ||
                                ::send(fd, "G", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1;
            open += closed ? 0U : 1U;
        }
    }
    for (const int fd : drips) close(fd);
    EXPECT_THAT(get("/health/live"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, ATakenPortIsAConflictAndABadAddressIsRejected) {
    const auto second = HttpServer::start("127.0.0.1", server_->port(), {});
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, Errc::conflict);
    const auto bad = HttpServer::start("not-an-address", 0, {});
    ASSERT_FALSE(bad.ok());
    EXPECT_EQ(bad.error().code, Errc::rejected);
}

TEST_F(HttpServerTest, ThePortIsFreeAfterTheServerWasDestroyed) {
    const std::uint16_t port = server_->port();
    server_.reset();
    EXPECT_TRUE(HttpServer::start("127.0.0.1", port, {}).ok());
}

}  // namespace
}  // namespace ferry::http
