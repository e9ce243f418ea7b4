#pragma once

#include <string>
#include <utility>
#include <variant>

#include "ferry/platform/assert.hpp"
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

/// A T or a ClientError. Dropping one is a compiler warning, hence a build error.
template <class T>
class [[nodiscard]] Answer {
public:
    Answer(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Answer(ClientError error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
    [[nodiscard]] T& value() & {
        FERRY_ASSERT(ok(), "value() of a failed Answer");
        return *std::get_if<0>(&state_);
    }
    [[nodiscard]] const T& value() const& {
        FERRY_ASSERT(ok(), "value() of a failed Answer");
        return *std::get_if<0>(&state_);
    }
    [[nodiscard]] T&& value() && { return std::move(value()); }
    [[nodiscard]] const ClientError& error() const {
        FERRY_ASSERT(!ok(), "error() of a successful Answer");
        return *std::get_if<1>(&state_);
    }
    /// The only legal way to drop a failure; the reason is what reviewers grep for.
    void ignore([[maybe_unused]] std::string_view reason) const noexcept {}

private:
    std::variant<T, ClientError> state_;
};

}  // namespace ferry::transport
