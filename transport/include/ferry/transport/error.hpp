#pragma once

#include <string>

#include "ferry/platform/result.hpp"
#include "ferry/wire/codes.hpp"

namespace ferry::transport {

/// Why a call failed, for people too. Unlike ferry::Error it may allocate: it is never made on a
/// hot path.
struct ClientError {
    Errc code = Errc::rejected;
    wire::Code wire_code =
        wire::Code::ok;  // what the broker answered; ok: it was not the broker who refused
    std::string text;    // one sentence

    /// The same without the text: `what` is a literal.
    [[nodiscard]] Error error() const;
};

/// What the caller of a refused call must do next.
[[nodiscard]] Errc errc_of(wire::Code code);
/// A ClientError for what the broker answered; an empty `text` becomes the code's own meaning.
[[nodiscard]] ClientError refused_by_broker(wire::Code code, std::string_view text);

/// A T or a ClientError.
template <class T>
using Answer = ResultOr<T, ClientError>;

}  // namespace ferry::transport
