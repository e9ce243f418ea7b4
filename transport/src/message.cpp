#include "ferry/transport/message.hpp"

namespace ferry::transport {

bool to_message(const MessageView& view, Message& out) {
    out.exchange.assign(view.exchange);
    out.routing_key.assign(view.routing_key);
    out.payload.assign(as_text(view.payload));
    return wire::read_properties(view.properties, out.properties);
}

}  // namespace ferry::transport
