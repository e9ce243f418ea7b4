// Producers and what they publish.

#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"

namespace ferry::server::native {

using wire::Code;

namespace {

/// Where something lies in a list while that still grows.
struct Place {
    std::size_t first = 0;
    std::size_t count = 0;
};

// Appends [[subscription, ranges, reject] …]; `places`: the ranges of each part in Hub::ranges.
bool read_parts(wire::Cursor& fields, Hub& hub, std::vector<Place>& places) {
    std::uint32_t count = 0;
    if (!fields.read_array(count) ||
        count > limits::transaction_parts_max - hub.transaction_parts.size()) {
        return false;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        engine::TransactionPart part;
        std::uint32_t three = 0;
        const std::size_t before = hub.ranges.size();
        if (!fields.read_array(three) || three != 3 || !fields.read_uint(part.subscription) ||
            !append_ranges(fields, hub.ranges) || !fields.read_bool(part.reject)) {
            return false;
        }
        places.push_back({before, hub.ranges.size() - before});
        hub.transaction_parts.push_back(part);
    }
    return true;
}

// Once nothing grows any more.
void give_ranges(Hub& hub, const std::vector<Place>& places) {
    for (std::size_t i = 0; i < places.size(); ++i)
        hub.transaction_parts[i].tags =
            std::span(hub.ranges).subspan(places[i].first, places[i].count);
}

// [[messages, parts] …]; `count`: the messages of all.
bool read_items(wire::Cursor& fields, Hub& hub, std::uint32_t& count) {
    hub.transaction_items.clear();
    hub.transaction_parts.clear();
    hub.ranges.clear();
    std::uint32_t items = 0;
    if (!fields.read_array(items) || items == 0 || items > limits::transactions_per_frame_max)
        return false;
    std::vector<Place> ranges;
    std::vector<Place> parts;
    std::uint64_t messages = 0;
    for (std::uint32_t i = 0; i < items; ++i) {
        std::uint32_t two = 0;
        std::uint64_t own = 0;
        const std::size_t before = hub.transaction_parts.size();
        if (!fields.read_array(two) || two != 2 || !fields.read_uint(own) ||
            own > limits::messages_per_frame_max || !read_parts(fields, hub, ranges)) {
            return false;
        }
        messages += own;
        parts.push_back({before, hub.transaction_parts.size() - before});
        hub.transaction_items.push_back({static_cast<std::uint32_t>(own), {}});
    }
    give_ranges(hub, ranges);
    for (std::size_t i = 0; i < parts.size(); ++i)
        hub.transaction_items[i].parts =
            std::span(hub.transaction_parts).subspan(parts[i].first, parts[i].count);
    count = static_cast<std::uint32_t>(std::min<std::uint64_t>(messages, UINT32_MAX));
    return messages <= limits::messages_per_frame_max;
}

// The messages are what is left of the frame, or (a later version's fields follow) `count` values.
bool rest_of(wire::Cursor& fields, std::uint32_t count, bool more_follows, Bytes& out) {
    const std::byte* begin = fields.position();
    std::size_t size = fields.remaining();
    if (more_follows) {
        for (std::uint32_t i = 0; i < count; ++i) {
            if (!fields.skip()) return false;
        }
        size = static_cast<std::size_t>(fields.position() - begin);
    }
    out = Bytes(begin, size);
    return true;
}

}  // namespace

// The hot path: the messages are handed on as they lie in the frame; only the engine looks at them.
bool NativeSession::publish(Request& request) {
    engine::PublishCommand command;
    command.session = id_;
    command.first = request.id;
    wire::Cursor& fields = request.fields;
    if (request.count < 6 || !fields.read_uint(command.producer) ||
        !fields.read_uint(command.flags) || !fields.read_uint(command.settled) ||
        !fields.read_array(command.count)) {
        return false;
    }
    if (command.count == 0 || command.count > limits::messages_per_frame_max) return false;
    if ((command.flags & ~wire::publish_flags_known) != 0) {
        fail(0, Code::not_supported, "publish has a flag that this broker does not know");
        return true;
    }
    if (!rest_of(fields, command.count, request.count > 6, command.messages)) return false;
    const Now now = hub_.now();
    if (!hub_.engine.publish(command, now)) return false;
    await_confirm(command.producer, command.first, command.count, command.count, now);
    published(command.count, command.messages.size());
    return true;
}

void NativeSession::await_confirm(std::uint64_t producer, std::uint64_t first,
                                  std::uint32_t sequences, std::uint32_t messages, Now now) {
    hub_.touch();
    if (timed_last_ == 0) {
        timed_producer_ = producer;
        timed_last_ = first + sequences - 1;
        timed_from_ = now.mono;
        timed_count_ = messages;
    }
    unconfirmed_ += sequences;
    if (hub_.behind()) link_.pause(Pause::behind);
    if (unconfirmed_ > hub_.config.connection_unconfirmed_max) link_.pause(Pause::unconfirmed);
}

bool NativeSession::transaction(Request& request) {
    engine::TransactionCommand command;
    command.session = id_;
    command.request = request.id;
    wire::Cursor& fields = request.fields;
    std::vector<Place> places;
    hub_.transaction_parts.clear();
    hub_.ranges.clear();
    if (request.count < 8 || request.id == 0 || !fields.read_uint(command.producer) ||
        !fields.read_uint(command.sequence) || !fields.read_uint(command.flags) ||
        !fields.read_uint(command.settled) || !read_parts(fields, hub_, places) ||
        !fields.read_array(command.count) || command.count > limits::messages_per_frame_max) {
        return false;
    }
    if ((command.flags & ~wire::publish_mandatory) != 0)
        return refuse(request, Code::bad_option, "a transaction has only flag 1, mandatory");
    if (!rest_of(fields, command.count, request.count > 8, command.messages)) return false;
    give_ranges(hub_, places);
    command.parts = hub_.transaction_parts;
    if (!hub_.engine.transact(command, hub_.now())) return false;
    await_answer(request.id);
    if (command.count != 0) published(command.count, command.messages.size());
    if (hub_.behind()) link_.pause(Pause::behind);
    return true;
}

// Many of them, told as publishes are.
bool NativeSession::transactions(Request& request) {
    engine::TransactionsCommand command;
    command.session = id_;
    command.first = request.id;
    wire::Cursor& fields = request.fields;
    std::uint32_t messages = 0;
    if (request.count < 7 || !fields.read_uint(command.producer) ||
        !fields.read_uint(command.flags) || !fields.read_uint(command.settled) ||
        !read_items(fields, hub_, command.count) || !fields.read_array(messages) ||
        messages != command.count) {
        return false;
    }
    if ((command.flags & ~wire::publish_mandatory) != 0) {
        fail(0, Code::not_supported, "transactions have only flag 1, mandatory");
        return true;
    }
    if (!rest_of(fields, command.count, request.count > 7, command.messages)) return false;
    command.items = hub_.transaction_items;
    const Now now = hub_.now();
    if (!hub_.engine.transact_many(command, now)) return false;
    await_confirm(command.producer, command.first, static_cast<std::uint32_t>(command.items.size()),
                  command.count, now);
    if (command.count != 0) published(command.count, command.messages.size());
    return true;
}

bool NativeSession::producer(Request& request) {
    std::string_view name;
    std::optional<std::uint64_t> epoch;
    bool temporary = false;
    const Option known[] = {
        {.name = "epoch", .maybe_number = &epoch},
        {.name = "temporary", .flag = &temporary},
    };
    std::string complaint;
    if (request.count < 4 || !request.fields.read_str(name) ||
        !read_options(request.fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    // Whoever opens a producer can fence it. A name that was drawn for one run is nobody else's.
    const bool own = temporary && name.starts_with(limits::temporary_producer_prefix);
    if (!own && !may(request, engine::Right::configure, name)) return true;
    hub_.engine.open_producer(id_, request.id, name, epoch, temporary, hub_.now());
    await_answer(request.id);
    return true;
}

bool NativeSession::hold(Request& request) {
    std::uint64_t producer = 0;
    if (request.count < 4 || !request.fields.read_uint(producer) ||
        !read_ranges(request.fields, hub_.ranges)) {
        return false;
    }
    hub_.engine.hold(id_, request.id, producer, hub_.ranges);
    await_answer(request.id);
    return true;
}

}  // namespace ferry::server::native
