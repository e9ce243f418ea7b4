// One MHD thread answers everything. What can go wrong and what then happens:
//   - a client sends nothing, or half a request: closed after idle_seconds_max
//   - a client sends huge headers: MHD answers 431 from its bounded per-connection memory
//   - a client sends a body: answered 400 before it is read
//   - too many clients: the 65th waits in the accept queue of the kernel
#include "ferry/http/http_server.hpp"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace ferry::http {
namespace {

constexpr unsigned int connections_max = 64;
constexpr unsigned int idle_seconds_max = 10;
constexpr std::size_t connection_bytes_max = 32U << 10;

constexpr std::string_view index_links =
    "<ul><li><a href=\"/metrics\">/metrics</a><li><a href=\"/health/live\">/health/live</a>"
    "<li><a href=\"/health/ready\">/health/ready</a></ul>\n";

struct BoundAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
    bool loopback = false;
};

bool parse_address(const std::string& host, std::uint16_t port, BoundAddress& out) {
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        out.loopback = (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
        out.size = sizeof v4;
        std::memcpy(&out.storage, &v4, sizeof v4);
        return true;
    }
    if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        out.loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
        out.size = sizeof v6;
        std::memcpy(&out.storage, &v6, sizeof v6);
        return true;
    }
    return false;
}

/// Host header without its port, in lower case and without brackets.
std::string host_name(std::string_view host) {
    if (host.starts_with('[')) {
        host = host.substr(1, host.find(']') == host.npos ? host.npos : host.find(']') - 1);
    } else {
        host = host.substr(0, host.find(':'));
    }
    std::string name(host);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return name;
}

bool is_loopback_name(std::string_view host) {
    const std::string name = host_name(host);
    BoundAddress address;
    return name == "localhost" || (parse_address(name, 0, address) && address.loopback);
}

struct Answer {
    unsigned int status = MHD_HTTP_OK;
    std::string body;
    const char* type = "text/plain; charset=utf-8";
};

Answer health_answer(const std::function<Health()>& handler) {
    const Health health = handler ? handler() : Health{};
    if (health.ok) return {MHD_HTTP_OK, "ok\n"};
    return {MHD_HTTP_SERVICE_UNAVAILABLE, health.reason + "\n"};
}

MHD_Result send(MHD_Connection* connection, const Answer& answer) {
    MHD_Response* response = MHD_create_response_from_buffer(
        answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (answer.status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    const MHD_Result queued = MHD_queue_response(connection, answer.status, response);
    MHD_destroy_response(response);
    return queued;
}

void silent(void*, const char*, va_list) {}

}  // namespace

struct HttpServer::Impl {
    HttpHandlers handlers;
    bool loopback = false;
    std::uint16_t port = 0;
    MHD_Daemon* daemon = nullptr;

    ~Impl() {
        if (daemon != nullptr) MHD_stop_daemon(daemon);
    }

    [[nodiscard]] Answer answer(std::string_view path) const {
        if (path == "/metrics") {
            return {MHD_HTTP_OK, handlers.metrics ? handlers.metrics() : std::string(),
                    "text/plain; version=0.0.4; charset=utf-8"};
        }
        if (path == "/health/live") return health_answer(handlers.live);
        if (path == "/health/ready") return health_answer(handlers.ready);
        if (path == "/") {
            const std::string& name = handlers.program;
            return {MHD_HTTP_OK,
                    "<!doctype html><title>" + name + "</title><h1>" + name + "</h1>" +
                        std::string(index_links),
                    "text/html; charset=utf-8"};
        }
        return {MHD_HTTP_NOT_FOUND, "no such page; try /metrics, /health/live or /health/ready\n"};
    }

    [[nodiscard]] Answer check_and_answer(MHD_Connection* connection, std::string_view path,
                                          std::string_view method) const {
        if (method != "GET" && method != "HEAD") {
            return {MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n"};
        }
        const auto header = [&](const char* name) {
            return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
        };
        const char* length = header(MHD_HTTP_HEADER_CONTENT_LENGTH);
        if (header(MHD_HTTP_HEADER_TRANSFER_ENCODING) != nullptr ||
            (length != nullptr && std::string_view(length) != "0")) {
            return {MHD_HTTP_BAD_REQUEST, "a request here has no body\n"};
        }
        if (loopback) {
            const char* host = header(MHD_HTTP_HEADER_HOST);
            if (host == nullptr) return {MHD_HTTP_BAD_REQUEST, "the Host header is missing\n"};
            if (!is_loopback_name(host)) {
                return {MHD_HTTP_FORBIDDEN, "this server answers to loopback names only\n"};
            }
        }
        return answer(path);
    }

    static MHD_Result on_request(void* self, MHD_Connection* connection, const char* url,
                                 const char* method, const char*, const char*, size_t*, void**) {
        // Answered on the first call, before any body: MHD then closes the connection if one
        // follows.
        return send(connection,
                    static_cast<Impl*>(self)->check_and_answer(connection, url, method));
    }
};

namespace {

Error os_error(Errc code, std::string_view what) {
    return Error{.code = code, .os_errno = errno, .position = 0, .what = what};
}

/// A bound and listening socket. Our own rather than MHD's, because only so is "taken" told from
/// the rest.
Result<int> listen_on(const BoundAddress& address) {
    const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return os_error(Errc::io_failed, "cannot make a socket");
    const int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0 &&
        listen(fd, static_cast<int>(connections_max)) == 0) {
        return fd;
    }
    const Error error = errno == EADDRINUSE
                            ? os_error(Errc::conflict, "another program has this port")
                            : os_error(Errc::io_failed, "cannot listen on this address");
    close(fd);
    return error;
}

std::uint16_t port_of(int fd) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return 0;
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    if (storage.ss_family == AF_INET6) {
        std::memcpy(&v6, &storage, sizeof v6);
        return ntohs(v6.sin6_port);
    }
    std::memcpy(&v4, &storage, sizeof v4);
    return ntohs(v4.sin_port);
}

}  // namespace

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

std::uint16_t HttpServer::port() const {
    return impl_->port;
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const std::string& host, std::uint16_t port,
                                                      HttpHandlers handlers) {
    BoundAddress address;
    if (!parse_address(host, port, address)) {
        return Error{.code = Errc::rejected, .what = "not a numeric IPv4 or IPv6 address"};
    }
    Result<int> listener = listen_on(address);
    if (!listener.ok()) return listener.error();
    const int fd = listener.value();
    auto impl = std::make_unique<Impl>();
    impl->handlers = std::move(handlers);
    impl->loopback = address.loopback;
    impl->port = port_of(fd);
    impl->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, nullptr, nullptr,
        &Impl::on_request, impl.get(), MHD_OPTION_EXTERNAL_LOGGER, &silent, nullptr,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, connections_max,
        MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds_max, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        connection_bytes_max, MHD_OPTION_END);
    if (impl->daemon == nullptr) {
        const Error error = os_error(Errc::io_failed, "cannot start the HTTP server");
        close(fd);
        return error;
    }
    return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

}  // namespace ferry::http
