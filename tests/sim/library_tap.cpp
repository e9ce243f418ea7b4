#include "library_tap.hpp"

namespace ferry::simulation {

using history::Type;
using history::What;

LibraryTap::LibraryTap(World& world, Recorder& recorder, User& user, std::uint32_t process,
                       std::uint32_t queue, std::uint64_t life)
    : DeliverTap(recorder, process, queue, queue != 0),
      world_(world),
      recorder_(recorder),
      user_(user),
      process_(process),
      life_(life) {}

void LibraryTap::wrong(const char* what) {
    world_.fail("the client library of process " + std::to_string(process_) + " " + what);
}

void LibraryTap::over(const std::vector<std::uint64_t>& tags) {
    for (const std::uint64_t tag : tags) DeliverTap::over(tag);
}

// ---- the broker ----

void LibraryTap::said_other(const wire::FrameHead& head, wire::Cursor& cursor) {
    if (head.verb == wire::Verb::cancelled) subscribed_ = false;
    if (head.verb == wire::Verb::ok && subscribing_.erase(head.request) > 0) subscribed_ = true;
    if (head.verb == wire::Verb::ok) said_opened(head.request, cursor);
    if (head.verb == wire::Verb::confirm || head.verb == wire::Verb::refused)
        said_outcome(head, cursor);
}

void LibraryTap::said_opened(std::uint64_t request, wire::Cursor& cursor) {
    const auto at = opening_.find(request);
    if (at == opening_.end()) return;
    std::uint64_t handle = 0;
    Opened entry;
    entry.transactions = at->second;
    each_entry(cursor, [&](std::string_view key, wire::Cursor& value) {
        if (key == "producer") return value.read_uint(handle);
        return key == "epoch" && value.read_uint(entry.epoch);
    });
    opened_[handle] = entry;
    opening_.erase(at);
}

void LibraryTap::said_outcome(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t handle = 0;
    std::uint64_t last = 0;
    if (!cursor.read_uint(handle) || !cursor.read_uint(last)) return;
    const auto opened = opened_.find(handle);
    if (opened == opened_.end()) return;
    const bool confirm = head.verb == wire::Verb::confirm;
    for (std::uint64_t seq = head.request; seq <= last; ++seq) {
        if (opened->second.transactions) {
            user_.transaction_told(*this, seq, confirm);
            continue;
        }
        // What a connection that was given up is refused says nothing of a later try.
        if (!confirm && is_gone()) continue;
        user_.told(life_, seq, confirm);
        recorder_.published(process_, noted_epoch(opened->second), seq,
                            confirm ? Type::ok : Type::fail);
    }
}

// ---- the library ----

void LibraryTap::heard(Bytes bytes) {
    partial_.insert(partial_.end(), bytes.begin(), bytes.end());
    const std::size_t used =
        each_frame(partial_, [&](const wire::FrameHead& head, wire::Cursor& cursor) {
            heard_frame(head, cursor);
            return true;
        });
    partial_.erase(partial_.begin(), partial_.begin() + static_cast<std::ptrdiff_t>(used));
}

void LibraryTap::heard_frame(const wire::FrameHead& head, wire::Cursor& cursor) {
    switch (head.verb) {
        case wire::Verb::producer:
            return heard_producer(head, cursor);
        case wire::Verb::subscribe:
            subscribing_.insert(head.request);
            return;
        case wire::Verb::publish:
            return heard_publish(head, cursor);
        case wire::Verb::ack:
        case wire::Verb::nack:
            return heard_settle(head, cursor);
        case wire::Verb::transactions:
            return heard_transactions(head, cursor);
        default:
            return;
    }
}

void LibraryTap::heard_producer(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::string_view name;
    if (cursor.read_str(name)) opening_[head.request] = name.starts_with("tx-");
}

void LibraryTap::heard_publish(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t handle = 0;
    std::uint32_t count = 0;
    if (!cursor.read_uint(handle) || !cursor.skip() || !cursor.skip() || !cursor.read_array(count))
        return wrong("publishes in a malformed frame");
    const auto opened = opened_.find(handle);
    if (opened == opened_.end()) return wrong("publishes under a handle that it was never given");
    world_.trace("library publishes", process_, head.request, count);
    for (std::uint32_t i = 0; i < count; ++i) {
        wire::MessageView view;
        if (!wire::read_message(cursor, view)) return wrong("publishes a malformed message");
        const Note* const note = user_.published(id_in(as_text(view.payload)));
        if (note == nullptr || hash_of(as_text(view.payload)) != note->payload ||
            view.routing_key != queue_name(note->queue))
            return wrong("publishes what nobody gave it");
        recorder_.publish_sent(process_, noted_epoch(opened->second), head.request + i, *note);
    }
}

void LibraryTap::heard_settle(const wire::FrameHead& head, wire::Cursor& cursor) {
    bool requeue = false;
    std::uint64_t subscription = 0;
    if (!cursor.read_uint(subscription)) return wrong("settles in a malformed frame");
    const auto ranges = read_ranges(cursor);
    const bool ack = head.verb == wire::Verb::ack;
    if (!ack && !cursor.read_bool(requeue)) return wrong("settles in a malformed frame");
    const What what = ack ? What::ack : requeue ? What::nack : What::reject;
    for (const auto& range : ranges) {
        for (std::uint64_t tag = range.first; tag <= range.second; ++tag) {
            // The broker may have taken the delivery back before it left.
            const std::uint64_t key = tag_of(subscription, tag);
            if (!user_.meant(key, what)) return wrong("settles what nobody asked it to");
            if (knows(key)) asked(head.request, what, {{key, key}});
        }
    }
}

// [[messages, [[subscription, ranges, reject] ...]] ...]: an item of it.
bool LibraryTap::read_item(wire::Cursor& cursor, WireTransaction& out, std::uint32_t& messages) {
    std::uint32_t fields = 0;
    std::uint32_t parts = 0;
    std::uint64_t count = 0;
    if (!cursor.read_array(fields) || fields != 2 || !cursor.read_uint(count) ||
        !cursor.read_array(parts))
        return false;
    messages = static_cast<std::uint32_t>(count);
    for (std::uint32_t i = 0; i < parts; ++i) {
        bool reject = false;
        std::uint64_t subscription = 0;
        if (!cursor.read_array(fields) || fields != 3 || !cursor.read_uint(subscription))
            return false;
        const auto ranges = read_ranges(cursor);
        if (!cursor.read_bool(reject)) return false;
        for (const auto& range : ranges) {
            for (std::uint64_t tag = range.first; tag <= range.second; ++tag)
                out.tags.emplace_back(tag_of(subscription, tag), reject);
        }
    }
    return true;
}

void LibraryTap::heard_transactions(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint32_t count = 0;
    if (!cursor.skip() || !cursor.skip() || !cursor.skip() || !cursor.read_array(count))
        return wrong("sends malformed transactions");
    std::vector<WireTransaction> all(count);
    std::vector<std::uint32_t> messages(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        all[i].seq = head.request + i;
        if (!read_item(cursor, all[i], messages[i])) return wrong("sends malformed transactions");
    }
    std::uint32_t total = 0;
    if (!cursor.read_array(total)) return wrong("sends malformed transactions");
    world_.trace("library sends transactions", process_, head.request, count);
    for (std::uint32_t i = 0; i < count; ++i) {
        for (std::uint32_t m = 0; m < messages[i]; ++m) {
            wire::MessageView view;
            if (!wire::read_message(cursor, view)) return wrong("sends malformed transactions");
            all[i].ids.push_back(id_in(as_text(view.payload)));
        }
        user_.sent(*this, all[i]);
    }
}

}  // namespace ferry::simulation
