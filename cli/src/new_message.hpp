#pragma once

#include <optional>
#include <string>
#include <vector>

#include "command.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::cli {

/// One message on the command line, for `schedule add` and `prepared add`.
struct NewMessage {
    wire::Message message;
    std::string queue;
    std::string file;
    std::vector<std::string> headers;
};

/// `when` goes behind the help of --queue. Its parts are written while the line is parsed.
void add_message_flags(Command& command, NewMessage& target, const std::string& when);
/// Puts into the message what the flags say together. Nothing: done; otherwise the exit status,
/// and it was told why.
[[nodiscard]] std::optional<int> complete(const NewMessage& given, wire::Message& out);

}  // namespace ferry::cli
