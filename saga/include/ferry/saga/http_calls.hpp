#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ferry/saga/definition.hpp"

/// The port by which an orchestrator makes HTTP calls. ferry/saga_http has the adapter that makes
/// them with libcurl; tests have their own.
namespace ferry::saga {

struct UrlParts {
    bool secure = false;  // https
    std::string host;     // lower case; without the brackets of an IPv6 address
    std::uint16_t port = 0;
};
/// Nothing: it is no URL that a definition may have. Deliberately narrow, so that whoever reads it
/// afterwards cannot find another host in it.
[[nodiscard]] std::optional<UrlParts> split_url(std::string_view url);

struct HttpRequest {
    std::string method;
    std::string url;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
    Duration timeout{0};  // for all of it; above 0
};

struct HttpAnswer {
    enum class Kind : std::uint8_t {
        answered,  // status and body are there
        not_sent,  // no byte of the request left: it has no effect
        unknown,   // it was sent, at least in part, and no whole answer came
    };
    Kind kind = Kind::unknown;
    int status = 0;
    std::string body;       // at most http_answer_bytes_max
    bool body_cut = false;  // it was longer, and is left out
    std::uint64_t retry_after_ms = 0;
    std::string problem;  // one sentence where it was not answered
};

/// Threads   any. Callbacks come on a thread of the implementation, and must return soon.
/// Lifetime  After the destructor no callback comes; what is under way is forgotten.
class HttpCalls {
public:
    using Callback = std::function<void(HttpAnswer answer)>;

    virtual ~HttpCalls() = default;
    /// Why calls to this URL are not made, one sentence; empty: they are.
    [[nodiscard]] virtual std::string refuses(const std::string& url) const = 0;
    /// Calls at the same time that it wants; who starts more makes them wait.
    [[nodiscard]] virtual std::size_t at_once() const = 0;
    /// Never waits. `done` is called once, unless this ends before.
    virtual void start(HttpRequest request, Callback done) = 0;
};

}  // namespace ferry::saga
