#include "peek.hpp"

#include <algorithm>

#include "frames.hpp"
#include "native_session.hpp"

namespace ferry::server::native {

namespace {
constexpr std::size_t row_reserve_bytes = 512;
}

Peek::Peek(Hub& hub, Link& link, engine::SessionId session, std::uint64_t request,
           std::vector<engine::PeekItem> items, std::size_t messages_max, std::uint64_t bytes_max)
    : hub_(hub),
      link_(link),
      session_(session),
      request_(request),
      items_(std::move(items)),
      messages_max_(messages_max),
      bytes_max_(
          std::min<std::uint64_t>(bytes_max, hub.config.frame_bytes_max - row_reserve_bytes)) {}

bool Peek::go_on() {
    while (at_ < items_.size()) {
        const engine::Position record = items_[at_].extent.record();
        const Bytes body = hub_.bodies.find(record);
        if (body.empty()) {
            fetch(record);
            return false;
        }
        if (!add(items_[at_], body)) break;
        ++at_;
    }
    answer();
    return true;
}

// False: enough.
bool Peek::add(const engine::PeekItem& item, Bytes body) {
    for (std::uint32_t i = 0; i < item.extent.count; ++i) {
        if (count_ == messages_max_) return false;
        const Result<Bytes> message =
            engine::message_bytes(body, item.extent, i, 1, hub_.scratch, &hub_.offsets);
        if (!message.ok()) return true;  // shown by the delivery that will meet it
        const std::size_t size = rows_.size() + message.value().size() + 32;
        if (count_ != 0 && size > bytes_max_) return false;
        wire::Encoder row(rows_);
        row.array(4).uint(item.extent.first + i).uint(item.attempt);
        row.uint(engine::published_ms(body)).raw(message.value());
        ++count_;
    }
    return true;
}

void Peek::fetch(engine::Position record) {
    Hub& hub = hub_;
    const engine::SessionId session = session_;
    hub_.bodies.fetch(record, [&hub, session, record](const Error* error) {
        auto* found = dynamic_cast<NativeSession*>(hub.session(session));
        if (found == nullptr) return;
        if (error != nullptr) found->forget_in_peeks(record);
        found->on_body();
    });
}

void Peek::skip(engine::Position record) {
    while (at_ < items_.size() && items_[at_].extent.record() == record) ++at_;
}

void Peek::answer() {
    const std::size_t mark = begin_ok(link_.out(), request_, 1);
    wire::Encoder(link_.out()).str("messages").array(count_).raw(rows_);
    wire::end_frame(link_.out(), mark);
    link_.sent();
}

}  // namespace ferry::server::native
