#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "ferry/platform/assert.hpp"

namespace ferry {

/// Grouped by what the caller must do next, not by where the error came from.
enum class Errc : std::uint8_t {
    would_block,    // nothing was accepted; retry after the next completion
    rejected,       // bad or over-limit request; correct it and ask again
    not_found,      // the named thing does not exist
    conflict,       // exists already, differently, or belongs to somebody else
    out_of_space,   // no room on the disk, or no file descriptor; free some and retry
    io_failed,      // the operating system refused; see os_errno. What was in doubt stays in doubt
    corrupt,        // stored bytes break the format; stop and tell the operator
    unreachable,    // the peer cannot be reached or went away; retry later
    indeterminate,  // it may or may not have happened, at most once
};

/// Why an operation failed. Never allocates; `what` is a string literal.
struct Error {
    Errc code = Errc::rejected;
    std::int32_t os_errno = 0;   // 0: the operating system was not involved
    std::uint64_t position = 0;  // byte position, for io_failed and corrupt
    std::string_view what = {};
};
static_assert(std::is_trivially_copyable_v<Error> && sizeof(Error) <= 32);

/// A T, or why there is none. Dropping one is a compiler warning, hence a build error. Rooms whose
/// errors say more than Error give it a name of their own.
template <class T, class E>
class [[nodiscard]] ResultOr {
public:
    ResultOr(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    ResultOr(E error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
    [[nodiscard]] T& value() & {
        FERRY_ASSERT(ok(), "value() of a failed result");
        return *std::get_if<0>(&state_);
    }
    [[nodiscard]] const T& value() const& {
        FERRY_ASSERT(ok(), "value() of a failed result");
        return *std::get_if<0>(&state_);
    }
    [[nodiscard]] T&& value() && { return std::move(value()); }
    [[nodiscard]] const E& error() const {
        FERRY_ASSERT(!ok(), "error() of a successful result");
        return *std::get_if<1>(&state_);
    }
    /// The only legal way to drop a failure; the reason is what reviewers grep for.
    void ignore([[maybe_unused]] std::string_view reason) const noexcept {}

private:
    std::variant<T, E> state_;
};

/// A T or an Error.
template <class T>
using Result = ResultOr<T, Error>;

struct Done {};
using Status = Result<Done>;
inline Status ok_status() {
    return Status(Done{});
}

}  // namespace ferry
