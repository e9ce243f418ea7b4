// One MHD thread answers everything. What can go wrong and what then happens:
//   - a client sends nothing, or half a request: closed after idle_seconds_max
//   - a client sends or reads byte by byte: closed after HttpHandlers::request_ms_max
//   - a client sends huge headers: MHD answers 431 from its bounded per-connection memory
//   - a client sends a body: answered 400 before it is read
//   - too many clients: the 65th waits in the accept queue of the kernel
#include "ferry/http/http_server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "ferry/platform/file.hpp"
#include "slow_clients.hpp"

namespace ferry::http {
namespace {

constexpr unsigned int connections_max = 64;
constexpr unsigned int idle_seconds_max = 10;
constexpr std::size_t connection_bytes_max = 32U << 10;

constexpr std::size_t pem_bytes_max = 1U << 20;
constexpr const char* tls_rules =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:"
    "+CHACHA20-POLY1305";

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

namespace {

/// What the files of HttpTls hold.
struct Pem {
    std::string certificate;
    std::string key;
    std::string client_ca;
};

Status read_pem(FileSystem& files, const std::string& path, std::string& out) {
    if (path.empty()) return ok_status();
    const auto bytes = read_file(files, path, pem_bytes_max);
    if (!bytes.ok()) return bytes.error();
    out = as_text(bytes.value());
    return ok_status();
}

Result<Pem> read_all(const HttpTls& tls) {
    const auto files = make_posix_file_system();
    Pem pem;
    if (const Status read = read_pem(*files, tls.certificate, pem.certificate); !read.ok())
        return read.error();
    if (const Status read = read_pem(*files, tls.key, pem.key); !read.ok()) return read.error();
    if (const Status read = read_pem(*files, tls.client_ca, pem.client_ca); !read.ok())
        return read.error();
    return pem;
}

// The library asks for a certificate and leaves it to us to look at it.
bool showed_a_good_certificate(MHD_Connection* connection) {
    const MHD_ConnectionInfo* const info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    unsigned int status = 0;
    return info != nullptr &&
           gnutls_certificate_verify_peers2(static_cast<gnutls_session_t>(info->tls_session),
                                            &status) == GNUTLS_E_SUCCESS &&
           status == 0;
}

/// A daemon of the library with what it looks into while it lives.
class Serving {
public:
    explicit Serving(Pem texts) : pem(std::move(texts)) {}
    ~Serving() {
        if (daemon != nullptr) MHD_stop_daemon(daemon);
        if (quiesced != MHD_INVALID_SOCKET) close(quiesced);
    }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;

    [[nodiscard]] int listener() const {
        return MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_LISTEN_FD)->listen_fd;
    }
    /// Takes no new connection any more. The library wants its socket open until it is stopped.
    void quiesce() { quiesced = MHD_quiesce_daemon(daemon); }

    const Pem pem;
    MHD_Daemon* daemon = nullptr;

private:
    MHD_socket quiesced = MHD_INVALID_SOCKET;
};

}  // namespace

struct HttpServer::Impl {
    HttpHandlers handlers;
    std::optional<HttpTls> tls;
    bool loopback = false;
    std::uint16_t port = 0;
    std::unique_ptr<SlowClients> slow;  // outlives the daemons
    std::mutex answering;               // by both daemons
    std::unique_ptr<Serving> now;
    std::unique_ptr<Serving> before;  // takes nobody new, and ends what it had begun

    [[nodiscard]] Answer answer(std::string_view path) {
        const std::lock_guard one_at_a_time(answering);
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
                                          std::string_view method) {
        if (tls && !tls->client_ca.empty() && !showed_a_good_certificate(connection))
            return {MHD_HTTP_FORBIDDEN, "a client certificate of the right CA is wanted here\n"};
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

    /// Null: it cannot be. It owns `fd` otherwise.
    [[nodiscard]] std::unique_ptr<Serving> serve(int fd, Pem texts) {
        auto serving = std::make_unique<Serving>(std::move(texts));
        serving->daemon = start_daemon(fd, serving->pem);
        return serving->daemon == nullptr ? nullptr : std::move(serving);
    }

    [[nodiscard]] MHD_Daemon* start_daemon(int fd, const Pem& texts) {
        std::vector<MHD_OptionItem> options{
            {MHD_OPTION_EXTERNAL_LOGGER, reinterpret_cast<std::intptr_t>(&silent), nullptr},
            {MHD_OPTION_LISTEN_SOCKET, fd, nullptr},
            {MHD_OPTION_CONNECTION_LIMIT, connections_max, nullptr},
            {MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds_max, nullptr},
            {MHD_OPTION_CONNECTION_MEMORY_LIMIT, connection_bytes_max, nullptr},
            {MHD_OPTION_NOTIFY_CONNECTION, reinterpret_cast<std::intptr_t>(&Impl::on_connection),
             this}};
        const auto text = [&](MHD_OPTION option, const std::string& value) {
            options.push_back({option, 0, const_cast<char*>(value.c_str())});
        };
        unsigned flags =
            MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_USE_ITC;
        if (tls) {
            flags |= MHD_USE_TLS;
            text(MHD_OPTION_HTTPS_MEM_CERT, texts.certificate);
            text(MHD_OPTION_HTTPS_MEM_KEY, texts.key);
            if (!texts.client_ca.empty()) text(MHD_OPTION_HTTPS_MEM_TRUST, texts.client_ca);
            options.push_back({MHD_OPTION_HTTPS_PRIORITIES, 0, const_cast<char*>(tls_rules)});
        }
        options.push_back({MHD_OPTION_END, 0, nullptr});
        return MHD_start_daemon(flags, 0, nullptr, nullptr, &Impl::on_request, this,
                                MHD_OPTION_ARRAY, options.data(), MHD_OPTION_END);
    }

    static int socket_of(MHD_Connection* connection) {
        const MHD_ConnectionInfo* const info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        return info == nullptr ? -1 : info->connect_fd;
    }

    static void on_connection(void* self, MHD_Connection* connection, void**,
                              MHD_ConnectionNotificationCode what) {
        SlowClients& slow = *static_cast<Impl*>(self)->slow;
        if (what == MHD_CONNECTION_NOTIFY_STARTED) {
            slow.begin(socket_of(connection));
        } else {
            slow.end(socket_of(connection));
        }
    }

    static MHD_Result on_request(void* self, MHD_Connection* connection, const char* url,
                                 const char* method, const char*, const char*, size_t*, void**) {
        static_cast<Impl*>(self)->slow->progress(socket_of(connection));
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
                                                      HttpHandlers handlers,
                                                      std::optional<HttpTls> tls) {
    BoundAddress address;
    if (!parse_address(host, port, address)) {
        return Error{.code = Errc::rejected, .what = "not a numeric IPv4 or IPv6 address"};
    }
    Result<int> listener = listen_on(address);
    if (!listener.ok()) return listener.error();
    const int fd = listener.value();
    auto impl = std::make_unique<Impl>();
    impl->tls = std::move(tls);
    auto pem = impl->tls ? read_all(*impl->tls) : Pem();
    if (!pem.ok()) {
        close(fd);
        return pem.error();
    }
    impl->handlers = std::move(handlers);
    impl->slow =
        std::make_unique<SlowClients>(std::chrono::milliseconds(impl->handlers.request_ms_max));
    impl->loopback = address.loopback;
    impl->port = port_of(fd);
    impl->now = impl->serve(fd, std::move(pem).value());
    if (impl->now == nullptr) {
        close(fd);
        if (impl->tls) {
            return Error{.code = Errc::rejected,
                         .what = "the certificate, its key or the clients' CA cannot be used"};
        }
        return os_error(Errc::io_failed, "cannot start the HTTP server");
    }
    return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

Status HttpServer::reload() {
    if (!impl_->tls) return ok_status();
    auto fresh = read_all(*impl_->tls);
    if (!fresh.ok()) return fresh.error();
    const int fd = fcntl(impl_->now->listener(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return os_error(Errc::io_failed, "there is no descriptor for the HTTP port");
    // Tried before the old one goes: what it would not take must not end what works.
    auto fresh_one = impl_->serve(fd, std::move(fresh).value());
    if (fresh_one == nullptr) {
        close(fd);
        return Error{.code = Errc::rejected,
                     .what = "the certificate, its key or the clients' CA cannot be used"};
    }
    impl_->now->quiesce();
    impl_->before = std::exchange(impl_->now, std::move(fresh_one));
    return ok_status();
}

}  // namespace ferry::http
