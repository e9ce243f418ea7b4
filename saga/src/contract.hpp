#pragma once

#include <string_view>

/// Names of the message contract; docs/saga.md shows the same table.
namespace ferry::saga::contract {

inline constexpr std::string_view step = "ferry-saga-step";
inline constexpr std::string_view op = "ferry-saga-op";  // act or undo
inline constexpr std::string_view attempt = "ferry-saga-attempt";
inline constexpr std::string_view token = "ferry-saga-token";
inline constexpr std::string_view retriable = "ferry-saga-retriable";
inline constexpr std::string_view holds = "ferry-saga-holds";  // a try: NAME.confirm settles it
inline constexpr std::string_view definition = "ferry-saga-definition";  // NAME/VERSION
inline constexpr std::string_view answer = "ferry-saga-answer";          // done, failed or again
inline constexpr std::string_view reason = "ferry-saga-reason";
inline constexpr std::string_view start = "ferry-saga-start";    // NAME, newest version
inline constexpr std::string_view signal = "ferry-saga-signal";  // its name
inline constexpr std::string_view cancel = "ferry-saga-cancel";  // the reason
inline constexpr std::string_view trace = "traceparent";
inline constexpr std::string_view json = "application/json";

}  // namespace ferry::saga::contract
