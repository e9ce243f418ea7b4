#pragma once

#include <string>
#include <string_view>

#include "ferry/saga/http_calls.hpp"
#include "machine.hpp"

namespace ferry::saga {

/// What an HTTP answer means for a step (docs/saga.md shows the table); step, op and attempt are
/// left to the caller. `repeated`: the same call may have been made before, and nobody knows what
/// became of it; then "conflict" may only mean that it is still at work.
[[nodiscard]] Reply reply_of(const HttpAnswer& answer, bool repeated);

/// The key that stays the same however often the call is made: SAGA/STEP/OP. What may not stand in
/// a header is written %XX.
[[nodiscard]] std::string idempotency_key(std::string_view saga, std::string_view step, Op op);

}  // namespace ferry::saga
