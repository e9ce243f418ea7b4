#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/wire/verbs.hpp"

namespace ferry::engine {

/// What somebody may do to the queue, exchange or producer with a name; docs/security.md.
enum class Right : std::uint8_t {
    none,       // nothing is needed
    any,        // any of the three below
    configure,  // make, change and delete it
    write,      // put messages into it
    read,       // take messages from it, look at them, drop them
    admin,      // what is not about one name: figures, backups, policies
};

/// The rights of one user. Patterns have * for any run of characters and ? for one.
struct Rights {
    std::string user;
    std::vector<std::string> configure;
    std::vector<std::string> write;
    std::vector<std::string> read;
    bool admin = false;  // everything
};

/// Every permission is decided here. A pure function.
[[nodiscard]] bool permits(const Rights& rights, Right right, std::string_view name);
/// To publish is to write to the exchange or, by the default exchange, to the queue.
[[nodiscard]] bool permits_publish(const Rights& rights, std::string_view exchange,
                                   std::string_view routing_key);
/// "user alice lacks the right write on 'orders'".
[[nodiscard]] std::string lack_text(const Rights& rights, Right right, std::string_view name);
[[nodiscard]] std::string_view right_name(Right right);

/// What a verb demands before anything of it is done.
struct Demand {
    /// Where in the request the name is: which field behind verb and request id.
    enum class Name : std::uint8_t {
        none,    // no name is needed
        first,   // of a queue, exchange or schedule
        second,  // likewise
        inside,  // its handler asks for each name: they are in options, messages or stored
    };
    Right right = Right::none;
    Name name = Name::none;
};

/// The demands of every verb a client may send. Has a case for each verb: one that is added
/// without saying what it demands does not compile. Unknown numbers demand admin.
[[nodiscard]] Demand demand_of(wire::Verb verb);

}  // namespace ferry::engine
