#pragma once

#include <string>
#include <string_view>

#include "ferry/wire/message.hpp"

// What a dead letter says of its past; docs/dead-letters.md names the headers.
namespace ferry::engine {

/// What the headers of a letter say.
struct DeathNotes {
    std::string queue;  // where it died last; empty: it never did
    std::string exchange;
    std::string routing_key;  // of the first publish
    std::uint64_t count = 0;  // deaths so far
};
struct Death {
    std::string_view queue;
    std::string_view reason;
    std::uint64_t wall_ms = 0;
    std::uint32_t attempts = 0;
};

/// Copies the envelope of a stored message, without what is over (deliver at), and reads its
/// notes. The payload is not copied. False: a property has the wrong type.
[[nodiscard]] bool open_letter(const wire::MessageView& message, wire::Message& out,
                               DeathNotes& notes);
/// Writes one more death into the letter's headers. What does not fit is left out, oldest history
/// first.
void note_death(wire::Message& letter, const DeathNotes& notes, const Death& death);
/// Writes from which queue an operator moved it: a consumer that has its producer's later messages
/// could take it for a repeat otherwise. Left out if it does not fit.
void note_move(wire::Message& letter, std::string_view queue);
/// Appends the letter with the payload, and the properties that this version does not know, of
/// `original`.
void write_letter(std::vector<std::byte>& out, const wire::Message& letter,
                  const wire::MessageView& original);

}  // namespace ferry::engine
