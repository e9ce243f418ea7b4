#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ferry/platform/result.hpp"

namespace ferry::http {

struct Health {
    bool ok = true;
    std::string reason;  // one sentence when not ok
};

/// What the server shows. Called on the server's threads, one at a time.
struct HttpHandlers {
    std::string program = "ferry";  // heading of the first page
    std::function<std::string()> metrics;
    std::function<Health()> live;
    std::function<Health()> ready;
    /// So long a client may take for one request, or for reading the answer.
    std::uint32_t request_ms_max = 20'000;
};

/// PEM files, for HTTPS. TLS 1.2 and 1.3.
struct HttpTls {
    std::string certificate;
    std::string key;
    std::string client_ca;  // not empty: clients must show a certificate that it signed
};

/// A small HTTP server for operators' tools: GET and HEAD of /, /metrics, /health/live,
/// /health/ready.
///
/// Threads   start() makes one thread, which runs the handlers, and reload() another; the
/// destructor
///           joins them. The other calls come from the owner's thread.
/// Hostile   At most 64 connections of 32 KiB each, closed after 10 s of silence, or when a request
///           takes longer than request_ms_max, however busily it drips. A request with a body,
///           another method or a path not listed gets its 4xx. A server bound to a loopback address
///           answers only requests whose Host is a loopback name, so that a web page elsewhere
///           cannot read it through a re-bound DNS name.
class HttpServer {
public:
    /// Errors    conflict (the port is taken), rejected (not a numeric address, or a file of `tls`
    ///           is not what it must be), not_found (a file of `tls`), io_failed.
    static Result<std::unique_ptr<HttpServer>> start(const std::string& host, std::uint16_t port,
                                                     HttpHandlers handlers,
                                                     std::optional<HttpTls> tls = std::nullopt);
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    /// Reads the files of `tls` again, for connections from now on; open ones go on until the
    /// reload after this one. After an error what was there before goes on.
    /// Blocking  Until what two reloads ago was begun has its answer.
    Status reload();

    /// The port in use; what the system chose if start() was given 0.
    [[nodiscard]] std::uint16_t port() const;

private:
    struct Impl;
    explicit HttpServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace ferry::http
