#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/history/checker.hpp"
#include "ferry/platform/result.hpp"

// Histories as text: an event a line, each a JSON object with the names of Event's fields. Fields
// that are 0 or false are left out. A line {"rules": {…}}, usually the first, says what the run
// promised. Several processes write a file each; read them all and merge() them.
//
//     {"process":3,"time_ns":1250,"type":"ok","what":"ack","queue":1,"id":7,"lease":4096}
namespace ferry::history {

/// A longer line is refused, unread.
inline constexpr std::size_t line_bytes_max = 4096;

[[nodiscard]] std::string_view name_of(Type type) noexcept;
[[nodiscard]] std::string_view name_of(What what) noexcept;

/// One line with its end.
[[nodiscard]] std::string line_of(const Event& event);
[[nodiscard]] std::string line_of(const Rules& rules);

/// What is wrong with a file, where, in a sentence for people.
struct ReadError {
    std::string text;
};

/// Adds what a file says to `history` and to `rules`. Empty lines are passed over.
///
/// Errors    a line that is too long, no JSON, or has a field or value that is unknown: `name` and
///           the line's number stand in the text. What lines before it said has been added.
[[nodiscard]] ResultOr<Done, ReadError> read(std::istream& in, std::string_view name,
                                             History& history, Rules& rules);

/// One history from several, by time; what has one time stays in the order of the files.
[[nodiscard]] History merge(std::vector<History> parts);

}  // namespace ferry::history
