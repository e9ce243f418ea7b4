#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "ferry/platform/result.hpp"
#include "ferry/saga/http_calls.hpp"
#include "ferry/saga/limits.hpp"

/// HTTP calls of sagas, made with libcurl.
namespace ferry::saga_http {

struct CurlOptions {
    /// Who may be called: HOST, HOST:PORT, or * for everybody. Empty: this machine only, by the
    /// names localhost, 127.x.y.z and [::1], and only at loopback addresses.
    std::vector<std::string> allow;
    std::size_t at_once = saga::limits::http_at_once;
    std::string user_agent = "ferrymq";
    std::string ca_file;  // of authorities that https trusts; empty: the system's
};

/// HTTP/1.1, a connection for each call. Redirects are not followed, proxies of the environment are
/// not used, https certificates are verified, an answer's body is read up to
/// http_answer_bytes_max.
///
/// Threads   makes one; it ends with the object, which the orchestrator shares.
/// Errors    rejected: an entry of `allow` is none, or at_once is out of range. io_failed: libcurl
///           cannot be used.
[[nodiscard]] Result<std::shared_ptr<saga::HttpCalls>> curl_calls(CurlOptions options);

}  // namespace ferry::saga_http
