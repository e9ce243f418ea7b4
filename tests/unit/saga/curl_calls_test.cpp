#include "ferry/saga_http/curl_calls.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <string>
#include <thread>

#include "allowed.hpp"

using namespace std::chrono_literals;

namespace ferry::saga_http {
namespace {

/// A server that reads a request and writes what it is told, byte for byte.
class RawServer {
public:
    explicit RawServer(std::string says, bool closes = true)
        : says_(std::move(says)), closes_(closes) {
        listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0) std::abort();
        if (::listen(listener_, 8) != 0) std::abort();
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { serve(); });
    }
    ~RawServer() {
        ending_ = true;
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
        ::close(listener_);
        if (kept_ >= 0) ::close(kept_);
    }
    RawServer(const RawServer&) = delete;
    RawServer& operator=(const RawServer&) = delete;

    [[nodiscard]] std::string url() const {
        return "http://127.0.0.1:" + std::to_string(port_) + "/x";
    }
    [[nodiscard]] std::string heard() const { return heard_; }

private:
    void serve() {
        const int socket = ::accept(listener_, nullptr, nullptr);
        if (socket < 0) return;
        char bytes[4096];
        while (heard_.find("\r\n\r\n") == std::string::npos || !heard_.ends_with("}")) {
            const ssize_t got = ::read(socket, bytes, sizeof bytes);
            if (got <= 0) break;
            heard_.append(bytes, static_cast<std::size_t>(got));
        }
        std::size_t at = 0;
        while (at < says_.size()) {
            const ssize_t put = ::send(socket, says_.data() + at, says_.size() - at, MSG_NOSIGNAL);
            if (put <= 0) break;
            at += static_cast<std::size_t>(put);
        }
        if (closes_) {
            ::close(socket);
        } else {
            kept_ = socket;
        }
    }

    const std::string says_;
    const bool closes_;
    int listener_ = -1;
    int kept_ = -1;
    std::uint16_t port_ = 0;
    std::string heard_;
    std::atomic<bool> ending_{false};
    std::thread thread_;
};

std::shared_ptr<saga::HttpCalls> calls(CurlOptions options = {}) {
    auto made = curl_calls(std::move(options));
    EXPECT_TRUE(made.ok());
    return std::move(made).value();
}

saga::HttpAnswer call(saga::HttpCalls& with, const std::string& url,
                      saga::Duration timeout = saga::Duration(10'000)) {
    auto promise = std::make_shared<std::promise<saga::HttpAnswer>>();
    auto future = promise->get_future();
    saga::HttpRequest request;
    request.method = "PUT";
    request.url = url;
    request.headers = {{"Idempotency-Key", "s1/charge/act"}};
    request.body = R"({"cents":990})";
    request.timeout = timeout;
    with.start(std::move(request),
               [promise](saga::HttpAnswer answer) { promise->set_value(std::move(answer)); });
    return future.get();
}

using Kind = saga::HttpAnswer::Kind;

TEST(CurlCalls, SendMethodHeadersAndBodyAndReadTheAnswer) {
    const RawServer server(
        "HTTP/1.1 429 Slow down\r\nRetry-After: 7\r\nContent-Length: 8\r\n\r\n{\"a\": 1}");
    const auto with = calls();
    const saga::HttpAnswer answer = call(*with, server.url());
    EXPECT_EQ(answer.kind, Kind::answered);
    EXPECT_EQ(answer.status, 429);
    EXPECT_EQ(answer.body, "{\"a\": 1}");
    EXPECT_EQ(answer.retry_after_ms, 7'000U);
    EXPECT_TRUE(server.heard().starts_with("PUT /x HTTP/1.1\r\n")) << server.heard();
    EXPECT_NE(server.heard().find("Idempotency-Key: s1/charge/act\r\n"), std::string::npos);
    EXPECT_EQ(server.heard().find("Expect:"), std::string::npos);
    EXPECT_TRUE(server.heard().ends_with("\r\n\r\n{\"cents\":990}"));
}

// G91
TEST(CurlCalls, WhatWasSentAndNotAnsweredIsUnknownAndWhatWasNotSentIsNot) {
    const auto with = calls();
    {
        const RawServer silent("", false);
        EXPECT_EQ(call(*with, silent.url(), saga::Duration(300)).kind, Kind::unknown);
    }
    {
        const RawServer hangs_up("");
        EXPECT_EQ(call(*with, hangs_up.url()).kind, Kind::unknown);
    }
    {
        const RawServer half("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":");
        EXPECT_EQ(call(*with, half.url()).kind, Kind::unknown);
    }
    std::string gone;
    {
        const RawServer server("");
        gone = server.url();
        static_cast<void>(call(*with, gone));
    }
    const saga::HttpAnswer refused = call(*with, gone);
    EXPECT_EQ(refused.kind, Kind::not_sent);
    EXPECT_NE(refused.problem.find("could not be made"), std::string::npos);
}

// G92
TEST(CurlCalls, AnEndlessAnswerIsCutOff) {
    const std::string body(saga::limits::http_answer_bytes_max + 100'000, 'x');
    const RawServer server("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                           "\r\n\r\n" + body);
    const auto with = calls();
    const saga::HttpAnswer answer = call(*with, server.url());
    EXPECT_EQ(answer.kind, Kind::answered);
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.body_cut);
    EXPECT_TRUE(answer.body.empty());
}

// G92
TEST(CurlCalls, RedirectsAreNotFollowed) {
    const RawServer server(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    const auto with = calls();
    EXPECT_EQ(call(*with, server.url()).status, 302);
}

TEST(CurlCalls, EndWithCallsUnderWayAndTellNobody) {
    const RawServer silent("", false);
    auto with = calls();
    std::atomic<bool> told{false};
    saga::HttpRequest request;
    request.method = "POST";
    request.url = silent.url();
    request.body = "{}";
    request.timeout = saga::Duration(60'000);
    with->start(std::move(request), [&told](const saga::HttpAnswer&) { told = true; });
    with.reset();
    EXPECT_FALSE(told);
}

// G92
TEST(AllowedHosts, AreThisMachineUnlessOthersAreNamed) {
    const auto refuses = [](const std::vector<std::string>& entries, const std::string& url) {
        const auto allowed = Allowed::of(entries);
        EXPECT_TRUE(allowed.has_value());
        return !allowed->refuses(url).empty();
    };
    for (const char* url : {"http://localhost/", "http://127.0.0.1:8080/", "http://[::1]/",
                            "https://LOCALHOST:1/x", "http://127.9.9.9/"}) {
        EXPECT_FALSE(refuses({}, url)) << url;
    }
    for (const char* url :
         {"http://shop.example/", "http://10.0.0.1/", "http://169.254.169.254/", "http://127.1/",
          "http://2130706433/", "http://0x7f.0.0.1/", "http://localhost.example/",
          "http://[::ffff:10.0.0.1]/", "http://0.0.0.0/", "ftp://localhost/"}) {
        EXPECT_TRUE(refuses({}, url)) << url;
    }
    EXPECT_FALSE(refuses({"shop.example"}, "https://shop.example/x"));
    EXPECT_TRUE(refuses({"shop.example"}, "https://shop.example.evil/x"));
    EXPECT_TRUE(refuses({"shop.example:8080"}, "http://shop.example/"));
    EXPECT_FALSE(refuses({"shop.example:8080"}, "http://shop.example:8080/"));
    EXPECT_TRUE(refuses({"shop.example"}, "http://localhost/")) << "the list is all";
    EXPECT_FALSE(refuses({"*"}, "http://anybody/"));
    EXPECT_FALSE(refuses({"[::1]:80"}, "http://[::1]/"));
    EXPECT_FALSE(Allowed::of({"http://x"}).has_value());
    EXPECT_FALSE(Allowed::of({"x/y"}).has_value());
    EXPECT_FALSE(Allowed::of({""}).has_value());
    const auto names = Allowed::of({});
    EXPECT_NE(names->refuses("http://shop.example/").find("--http-allow shop.example"),
              std::string::npos);
}

TEST(AllowedHosts, AreLookedAtAsAddressesToo) {
    sockaddr_in four{};
    four.sin_family = AF_INET;
    const auto is = [](const auto& address) {
        return is_loopback(reinterpret_cast<const sockaddr&>(address));
    };
    four.sin_addr.s_addr = htonl(0x7f000001);
    EXPECT_TRUE(is(four));
    four.sin_addr.s_addr = htonl(0x0a000001);
    EXPECT_FALSE(is(four));
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    EXPECT_FALSE(is(six));
    six.sin6_addr = in6addr_loopback;
    EXPECT_TRUE(is(six));
    ::inet_pton(AF_INET6, "::ffff:127.0.0.1", &six.sin6_addr);
    EXPECT_TRUE(is(six));
    ::inet_pton(AF_INET6, "::ffff:10.0.0.1", &six.sin6_addr);
    EXPECT_FALSE(is(six));
}

}  // namespace
}  // namespace ferry::saga_http
