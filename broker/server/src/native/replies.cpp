// Replies to calls: straight from the connection that answers to the one that asked; docs/calls.md.

#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"
#include "reply_address.hpp"

namespace ferry::server::native {

using wire::Code;

// One frame replies and acks: no ack comes without its reply, and a reply that nobody can get any
// more still acks, as the work is done.
bool NativeSession::reply(Request& request) {
    std::string_view address;
    std::uint64_t subscription = 0;
    wire::MessageView message;
    if (request.count < 6 || !request.fields.read_str(address) ||
        !request.fields.read_uint(subscription) || !read_ranges(request.fields, hub_.ranges) ||
        !wire::read_message(request.fields, message)) {
        return false;
    }
    const auto caller = session_of_reply(address);
    if (!caller) {
        if (request.id == 0) {
            fail(0, Code::bad_option, "a reply goes to the reply_to of its request");
            return true;
        }
        return refuse(request, Code::bad_option, "a reply goes to the reply_to of its request");
    }
    auto* const found = dynamic_cast<NativeSession*>(hub_.session(*caller));
    const bool taken = found != nullptr && found->take_reply(message.whole);
    ++(taken ? hub_.figures.replies : hub_.figures.replies_dropped);
    if (!hub_.ranges.empty()) {
        hub_.engine.ack(id_, 0, subscription, hub_.ranges, hub_.now());
        hub_.touch();
    }
    if (request.id == 0) return true;
    const std::size_t mark = begin_ok(link_.out(), request.id, 1);
    wire::Encoder(link_.out()).str("delivered").boolean(taken);
    wire::end_frame(link_.out(), mark);
    link_.sent();
    return true;
}

// False: it is gone, or so far behind with reading that it does not get this.
bool NativeSession::take_reply(Bytes message) {
    if (phase_ != Phase::serving || link_.choked()) return false;
    const std::size_t mark = wire::begin_frame(link_.out(), wire::Verb::reply, 3);
    wire::Encoder(link_.out()).uint(0).raw(message);
    wire::end_frame(link_.out(), mark);
    link_.sent();
    return true;
}

}  // namespace ferry::server::native
