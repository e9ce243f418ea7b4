#include "ferry/transport/error.hpp"

namespace ferry::transport {

Errc errc_of(wire::Code code) {
    switch (code) {
        case wire::Code::no_such_queue:
        case wire::Code::no_such_exchange:
        case wire::Code::no_such_subscription:
        case wire::Code::no_such_binding:
        case wire::Code::no_such_message:
        case wire::Code::no_such_producer:
            return Errc::not_found;
        case wire::Code::declared_differently:
        case wire::Code::exclusive_elsewhere:
        case wire::Code::already_exists:
        case wire::Code::not_empty:
        case wire::Code::in_use:
        case wire::Code::fenced:
            return Errc::conflict;
        case wire::Code::disk_full:
            return Errc::out_of_space;
        case wire::Code::storage_failed:
            return Errc::io_failed;
        case wire::Code::damaged:
            return Errc::corrupt;
        case wire::Code::timed_out:
        case wire::Code::shutting_down:
        case wire::Code::too_many_connections:
            return Errc::unreachable;
        case wire::Code::limit_reached:
            return Errc::would_block;
        case wire::Code::lease_lost:
            return Errc::indeterminate;
        default:
            return Errc::rejected;
    }
}

ClientError refused_by_broker(wire::Code code, std::string_view text) {
    const wire::CodeInfo& info = wire::code_info(code);
    // Text from the network is only bounded by the frame; nobody reads more than this.
    constexpr std::size_t text_bytes_max = 1000;
    if (text.empty()) text = info.meaning;
    return ClientError{errc_of(code), code, std::string(text.substr(0, text_bytes_max))};
}

Error ClientError::error() const {
    const std::string_view what = wire_code == wire::Code::ok
                                      ? std::string_view("the client failed")
                                      : wire::code_info(wire_code).name;
    return Error{code, 0, 0, what};
}

}  // namespace ferry::transport
