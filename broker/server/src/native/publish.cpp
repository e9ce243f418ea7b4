// Producers and what they publish.

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"

namespace ferry::server::native {

using wire::Code;

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
    const std::byte* begin = fields.position();
    std::size_t size = fields.remaining();
    if (request.count > 6) {  // a later version's fields follow: find where the messages end
        for (std::uint32_t i = 0; i < command.count; ++i) {
            if (!fields.skip()) return false;
        }
        size = static_cast<std::size_t>(fields.position() - begin);
    }
    command.messages = Bytes(begin, size);
    const Now now = hub_.now();
    if (!hub_.engine.publish(command, now)) return false;
    hub_.touch();
    if (timed_last_ == 0) {
        timed_producer_ = command.producer;
        timed_last_ = command.first + command.count - 1;
        timed_from_ = now.mono;
        timed_count_ = command.count;
    }
    unconfirmed_ += command.count;
    published(command.count, command.messages.size());
    if (hub_.behind()) link_.pause(Pause::behind);
    if (unconfirmed_ > hub_.config.connection_unconfirmed_max) link_.pause(Pause::unconfirmed);
    return true;
}

namespace {

/// Where a part's ranges lie in Hub::ranges while that still grows.
struct PartAt {
    std::size_t first = 0;
    std::size_t count = 0;
};

// [[subscription, ranges, reject] …]
bool read_parts(wire::Cursor& fields, Hub& hub) {
    std::uint32_t count = 0;
    hub.transaction_parts.clear();
    hub.ranges.clear();
    if (!fields.read_array(count) || count > limits::transaction_parts_max) return false;
    std::vector<PartAt> places;
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
    for (std::size_t i = 0; i < places.size(); ++i)
        hub.transaction_parts[i].tags =
            std::span(hub.ranges).subspan(places[i].first, places[i].count);
    return true;
}

}  // namespace

bool NativeSession::transaction(Request& request) {
    engine::TransactionCommand command;
    command.session = id_;
    command.request = request.id;
    wire::Cursor& fields = request.fields;
    if (request.count < 8 || request.id == 0 || !fields.read_uint(command.producer) ||
        !fields.read_uint(command.sequence) || !fields.read_uint(command.flags) ||
        !fields.read_uint(command.settled) || !read_parts(fields, hub_) ||
        !fields.read_array(command.count) || command.count > limits::messages_per_frame_max) {
        return false;
    }
    if ((command.flags & ~wire::publish_mandatory) != 0)
        return refuse(request, Code::bad_option, "a transaction has only flag 1, mandatory");
    const std::byte* begin = fields.position();
    std::size_t size = fields.remaining();
    if (request.count > 8) {
        for (std::uint32_t i = 0; i < command.count; ++i) {
            if (!fields.skip()) return false;
        }
        size = static_cast<std::size_t>(fields.position() - begin);
    }
    command.messages = Bytes(begin, size);
    command.parts = hub_.transaction_parts;
    if (!hub_.engine.transact(command, hub_.now())) return false;
    await_answer(request.id);
    if (command.count != 0) published(command.count, command.messages.size());
    if (hub_.behind()) link_.pause(Pause::behind);
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
