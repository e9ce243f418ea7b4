#include "ferry/saga_http/curl_calls.hpp"

#include <curl/curl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "allowed.hpp"

namespace ferry::saga_http {
namespace {

using saga::HttpAnswer;
using saga::HttpRequest;

/// Of establishing a connection; the call's own time bounds it, too.
constexpr long connect_ms_max = 10'000;
constexpr long timeout_ms_max = 2'000'000'000;  // libcurl takes no more: 23 days
constexpr int poll_ms = 1'000;
/// Of Retry-After; the step's policy has the cap that counts.
constexpr curl_off_t wait_s_max = 366LL * 24 * 3600;

struct EasyEnd {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct ListEnd {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

/// One call under way.
struct Transfer {
    HttpRequest request;
    saga::HttpCalls::Callback done;
    std::unique_ptr<CURL, EasyEnd> easy;
    std::unique_ptr<curl_slist, ListEnd> headers;
    std::string body;
    bool cut = false;
    char error[CURL_ERROR_SIZE] = {};
};

std::size_t take_body(char* bytes, std::size_t, std::size_t count, void* of) {
    auto& transfer = *static_cast<Transfer*>(of);
    if (count > saga::limits::http_answer_bytes_max - transfer.body.size()) {
        transfer.cut = true;
        return 0;  // ends the transfer
    }
    transfer.body.append(bytes, count);
    return count;
}

curl_socket_t open_loopback(void*, curlsocktype, curl_sockaddr* address) {
    if (!is_loopback(address->addr)) return CURL_SOCKET_BAD;
    return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}
curl_socket_t open_any(void*, curlsocktype, curl_sockaddr* address) {
    return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

HttpAnswer answer_of(Transfer& transfer, CURLcode result) {
    CURL* const easy = transfer.easy.get();
    HttpAnswer out;
    long status = 0;
    long sent = 0;
    curl_off_t wait = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &sent);
    curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &wait);
    out.status = static_cast<int>(status);
    if (wait > 0) {
        out.retry_after_ms = static_cast<std::uint64_t>(std::min(wait, wait_s_max)) * 1000;
    }
    if (result == CURLE_OK || (transfer.cut && status != 0)) {
        out.kind = HttpAnswer::Kind::answered;
        out.body_cut = transfer.cut;
        if (!transfer.cut) out.body = std::move(transfer.body);
        return out;
    }
    // Without a byte of the request nothing can have happened; with one, anything.
    out.kind = sent == 0 ? HttpAnswer::Kind::not_sent : HttpAnswer::Kind::unknown;
    out.problem = std::string(sent == 0 ? "the call could not be made: " : "no whole answer: ") +
                  (transfer.error[0] != 0 ? transfer.error : curl_easy_strerror(result));
    return out;
}

class CurlCalls final : public saga::HttpCalls {
public:
    CurlCalls(CurlOptions options, Allowed allowed, CURLM* multi)
        : options_(std::move(options)), allowed_(std::move(allowed)), multi_(multi) {
        thread_ = std::thread([this] { work(); });
    }
    ~CurlCalls() override {
        stopping_ = true;
        curl_multi_wakeup(multi_);
        thread_.join();
        for (auto& [easy, transfer] : under_way_) curl_multi_remove_handle(multi_, easy);
        under_way_.clear();
        curl_multi_cleanup(multi_);
    }
    CurlCalls(const CurlCalls&) = delete;
    CurlCalls& operator=(const CurlCalls&) = delete;

    [[nodiscard]] std::string refuses(const std::string& url) const override {
        return allowed_.refuses(url);
    }
    [[nodiscard]] std::size_t at_once() const override { return options_.at_once; }
    void start(HttpRequest request, Callback done) override {
        auto transfer = std::make_unique<Transfer>();
        transfer->request = std::move(request);
        transfer->done = std::move(done);
        {
            const std::scoped_lock lock(mutex_);
            wanted_.push_back(std::move(transfer));
        }
        curl_multi_wakeup(multi_);
    }

private:
    void work() {
        while (!stopping_) {
            std::deque<std::unique_ptr<Transfer>> wanted;
            {
                const std::scoped_lock lock(mutex_);
                wanted.swap(wanted_);
            }
            for (auto& transfer : wanted) begin(std::move(transfer));
            int running = 0;
            curl_multi_perform(multi_, &running);
            int left = 0;
            while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
                if (message->msg == CURLMSG_DONE) end(message->easy_handle, message->data.result);
            }
            curl_multi_poll(multi_, nullptr, 0, poll_ms, nullptr);
        }
    }

    void begin(std::unique_ptr<Transfer> transfer) {
        transfer->easy.reset(curl_easy_init());
        CURL* const easy = transfer->easy.get();
        if (easy == nullptr || !set_up(*transfer) ||
            curl_multi_add_handle(multi_, easy) != CURLM_OK) {
            HttpAnswer answer;
            answer.kind = HttpAnswer::Kind::not_sent;
            answer.problem = "the call could not be made: libcurl has no memory for it";
            transfer->done(std::move(answer));
            return;
        }
        under_way_.emplace(easy, std::move(transfer));
    }

    bool set_up(Transfer& transfer) const {
        CURL* const easy = transfer.easy.get();
        const HttpRequest& request = transfer.request;
        bool ok = true;
        const auto set = [&](CURLoption option, auto value) {
            ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK;
        };
        const auto header = [&](const std::string& line) {
            curl_slist* const longer = curl_slist_append(transfer.headers.get(), line.c_str());
            ok = ok && longer != nullptr;
            if (longer == nullptr) return;
            static_cast<void>(transfer.headers.release());
            transfer.headers.reset(longer);
        };
        for (const auto& [name, value] : request.headers) header(name + ": " + value);
        header("Expect:");  // no round trip before the body
        set(CURLOPT_URL, request.url.c_str());
        set(CURLOPT_PROTOCOLS_STR, "http,https");
        set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
        set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
        set(CURLOPT_POSTFIELDS, request.body.data());
        set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
        set(CURLOPT_HTTPHEADER, transfer.headers.get());
        set(CURLOPT_USERAGENT, options_.user_agent.c_str());
        set(CURLOPT_FOLLOWLOCATION, 0L);
        set(CURLOPT_PROXY, "");
        set(CURLOPT_NOSIGNAL, 1L);
        // A kept connection may be gone, and libcurl then sends the request once more by itself:
        // two calls of one attempt, of which nobody would know.
        set(CURLOPT_FRESH_CONNECT, 1L);
        set(CURLOPT_FORBID_REUSE, 1L);
        set(CURLOPT_TIMEOUT_MS,
            std::min(static_cast<long>(request.timeout.count()), timeout_ms_max));
        set(CURLOPT_CONNECTTIMEOUT_MS, connect_ms_max);
        set(CURLOPT_ERRORBUFFER, transfer.error);
        set(CURLOPT_WRITEFUNCTION, &take_body);
        set(CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
        set(CURLOPT_OPENSOCKETFUNCTION, allowed_.only_loopback() ? &open_loopback : &open_any);
        if (!options_.ca_file.empty()) set(CURLOPT_CAINFO, options_.ca_file.c_str());
        return ok;
    }

    void end(CURL* easy, CURLcode result) {
        const auto found = under_way_.find(easy);
        if (found == under_way_.end()) return;
        const std::unique_ptr<Transfer> transfer = std::move(found->second);
        under_way_.erase(found);
        curl_multi_remove_handle(multi_, easy);
        transfer->done(answer_of(*transfer, result));
    }

    const CurlOptions options_;
    const Allowed allowed_;
    CURLM* const multi_;
    std::atomic<bool> stopping_{false};
    std::map<CURL*, std::unique_ptr<Transfer>> under_way_;  // the thread's
    std::mutex mutex_;
    std::deque<std::unique_ptr<Transfer>> wanted_;
    std::thread thread_;
};

}  // namespace

Result<std::shared_ptr<saga::HttpCalls>> curl_calls(CurlOptions options) {
    auto allowed = Allowed::of(options.allow);
    if (!allowed) {
        return Error{Errc::rejected, 0, 0, "who may be called is written HOST, HOST:PORT or *"};
    }
    if (options.at_once == 0 || options.at_once > saga::limits::http_at_once_max) {
        return Error{Errc::rejected, 0, 0, "1 to 1000 HTTP calls can be made at the same time"};
    }
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    CURLM* const multi = ready == CURLE_OK ? curl_multi_init() : nullptr;
    if (multi == nullptr) return Error{Errc::io_failed, 0, 0, "libcurl cannot be used"};
    curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, static_cast<long>(options.at_once));
    return std::shared_ptr<saga::HttpCalls>(
        std::make_shared<CurlCalls>(std::move(options), *std::move(allowed), multi));
}

}  // namespace ferry::saga_http
