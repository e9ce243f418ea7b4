#include "native/calls.hpp"

#include <algorithm>
#include <charconv>

#include "ferry/platform/clock.hpp"
#include "ferry/wire/verbs.hpp"
#include "native/ask.hpp"
#include "native/core.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;

ClientError no_reply() {
    return ClientError{Errc::would_block, wire::Code::ok, "nobody replied in time"};
}

}  // namespace

Calls::Calls(Core& core) : core_(core), prefix_(invented_name("c-", core.random()) + "-") {}

// ---- any thread ----

Status Calls::begin(const Message& request, const CallOptions& options, CallCallback done) {
    const Timeout timeout = core_.timeout_or_default(options.timeout);
    const Now now = system_clock().now();
    Message sent = request;
    std::uint64_t number = 0;
    {
        const std::lock_guard guard(mutex_);
        if (address_.empty())
            return Error{Errc::unreachable, 0, 0, "no connection to the broker, or one too old"};
        number = ++last_;
        sent.properties.reply_to = address_;
        sent.properties.correlation_id = prefix_ + std::to_string(number);
        if (sent.properties.expires_at_ms == 0) {
            sent.properties.expires_at_ms = static_cast<std::uint64_t>(
                static_cast<std::int64_t>(now.wall_ms) + clock_ahead_ + timeout.count());
        }
        const std::uint64_t deadline =
            now.mono.ns + static_cast<std::uint64_t>(timeout.count()) * ns_per_ms;
        open_.emplace(number, Open{std::move(done), deadline});
        alarms_.emplace(deadline, number);
        ++stats_.calls;
    }
    const Status taken =
        core_.publish_call(sent, options.need_consumer, [this, number](const Outcome& outcome) {
            if (outcome.kind == Outcome::Kind::refused)
                fail(number, &CallStats::refused, refused_by_broker(outcome.code, outcome.text));
        });
    if (taken.ok()) return taken;
    const std::lock_guard guard(mutex_);
    const auto at = open_.find(number);
    if (at == open_.end()) return ok_status();  // ended meanwhile, with its callback
    alarms_.erase({at->second.deadline_ns, number});
    open_.erase(at);
    --stats_.calls;
    return taken;
}

CallStats Calls::stats() const {
    const std::lock_guard guard(mutex_);
    CallStats out = stats_;
    out.open = open_.size();
    return out;
}

// ---- the I/O thread ----

void Calls::connected(std::string address, std::uint64_t broker_ms) {
    const std::lock_guard guard(mutex_);
    address_ = std::move(address);
    const auto here = static_cast<std::int64_t>(system_clock().now().wall_ms);
    clock_ahead_ = broker_ms == 0 ? 0 : static_cast<std::int64_t>(broker_ms) - here;
}

CallCallback Calls::take(std::uint64_t number, std::uint64_t CallStats::*how) {
    const std::lock_guard guard(mutex_);
    const auto at = open_.find(number);
    if (at == open_.end()) return nullptr;
    alarms_.erase({at->second.deadline_ns, number});
    CallCallback done = std::move(at->second.done);
    open_.erase(at);
    ++(stats_.*how);
    return done;
}

void Calls::fail(std::uint64_t number, std::uint64_t CallStats::*how, const ClientError& error) {
    if (const CallCallback done = take(number, how)) done(error);
}

std::uint64_t Calls::number_of(std::string_view correlation) const {
    if (!correlation.starts_with(prefix_)) return 0;
    const std::string_view digits = correlation.substr(prefix_.size());
    std::uint64_t number = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return read.ec == std::errc() && read.ptr == digits.data() + digits.size() ? number : 0;
}

void Calls::on_reply(const wire::MessageView& view) {
    Message reply;
    const bool readable = to_message(view, reply);
    const std::uint64_t number =
        readable ? number_of(reply.properties.correlation_id) : std::uint64_t{0};
    if (const CallCallback done = take(number, &CallStats::answered)) return done(reply);
    const std::lock_guard guard(mutex_);
    ++stats_.late;
}

void Calls::pump() {
    std::uint64_t next = 0;
    {
        const std::lock_guard guard(mutex_);
        if (alarms_.empty()) return;
        next = alarms_.begin()->first;
    }
    if (armed_ns_ != 0 && armed_ns_ <= next) return;
    armed_ns_ = next;
    const std::uint64_t now = system_clock().now().mono.ns;
    core_.arm_call_timer(next > now ? (next - now) / ns_per_ms + 1 : 1);
}

void Calls::look() {
    armed_ns_ = 0;
    const std::uint64_t now = system_clock().now().mono.ns;
    for (;;) {
        std::uint64_t number = 0;
        {
            const std::lock_guard guard(mutex_);
            if (alarms_.empty() || alarms_.begin()->first > now) break;
            number = alarms_.begin()->second;
        }
        fail(number, &CallStats::unanswered, no_reply());
    }
    pump();
}

void Calls::fail_all(const ClientError& error) {
    std::vector<std::uint64_t> numbers;
    {
        const std::lock_guard guard(mutex_);
        address_.clear();
        for (const auto& [number, open] : open_) numbers.push_back(number);
    }
    for (const std::uint64_t number : numbers) fail(number, &CallStats::broken, error);
}

void Calls::lost(const std::string& why) {
    fail_all(ClientError{Errc::indeterminate, wire::Code::ok,
                         "the connection was lost before the reply: " + why});
}

void Calls::abandon(const ClientError& because) {
    fail_all(ClientError{Errc::indeterminate, because.wire_code,
                         "the client was closed before the reply: " + because.text});
}

}  // namespace ferry::transport::native
