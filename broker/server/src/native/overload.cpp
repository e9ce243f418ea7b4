// Publishers wait when the broker is short of something. Whoever wants to know is told, and is
// expected to stop by itself; from others, and from those that go on, nothing more is read. That
// stops the acks of such a connection too: consumers have a connection of their own, or want to
// know.

#include <algorithm>

#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"
#include "sign_in.hpp"

namespace ferry::server::native {

namespace {

// What may be under way when a publisher is told.
constexpr std::uint64_t under_way_bytes_max = 1U << 20;

std::string_view reason_of(Blocked blocked) {
    switch (blocked) {
        case Blocked::no:
            return "";
        case Blocked::memory:
            return "memory";
        case Blocked::disk:
            return "disk";
    }
    return "";
}

}  // namespace

void NativeSession::published(std::uint64_t messages, std::size_t bytes) {
    if (over_rate(messages)) link_.pause(Pause::rate);
    const bool first = !publishes_;
    publishes_ = true;
    if (hub_.blocked() == Blocked::no) return;
    if (first) tell_blocked();
    if (hub_.blocked() != Blocked::memory) return;  // of a full disk each message is told
    blocked_bytes_ += bytes;
    if (!tells_blocked_ || blocked_bytes_ > under_way_bytes_max) link_.pause(Pause::memory);
}

// A user's rate is that of all its connections together; a second's worth may come at once.
bool NativeSession::over_rate(std::uint64_t messages) {
    if (account_ == nullptr || account_->user.publish_rate == 0) return false;
    const auto rate = static_cast<double>(account_->user.publish_rate);
    const Instant now = hub_.now().mono;
    const double passed = static_cast<double>(now.ns - account_->refilled.ns) / 1e9;
    account_->refilled = now;
    account_->tokens =
        std::min(rate, account_->tokens + rate * passed) - static_cast<double>(messages);
    return account_->tokens < 0;
}

void NativeSession::on_blocked() {
    if (phase_ != Phase::serving) return;
    if (hub_.blocked() != Blocked::memory) {
        blocked_bytes_ = 0;
        link_.resume(Pause::memory);
    }
    if (publishes_) tell_blocked();
}

void NativeSession::tell_blocked() {
    if (!tells_blocked_ || told_blocked_ == hub_.blocked()) return;
    told_blocked_ = hub_.blocked();
    const bool over = told_blocked_ == Blocked::no;
    const std::size_t mark = wire::begin_frame(
        link_.out(), over ? wire::Verb::unblocked : wire::Verb::blocked, over ? 2 : 3);
    wire::Encoder out(link_.out());
    out.uint(0);
    if (!over) out.str(reason_of(told_blocked_));
    wire::end_frame(link_.out(), mark);
    link_.sent();
}

}  // namespace ferry::server::native
