#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ferry/platform/clock.hpp"
#include "ferry/secure/scram.hpp"

namespace ferry::server::native {

/// A connection that has said hello and has not yet shown who it is; docs/protocol.md, "Signing
/// in".
class SignIn {
public:
    std::uint64_t request = 0;  // of hello, which is answered when it is over
    std::unique_ptr<secure::ScramServer> scram;
    std::string user;    // as it says
    bool known = false;  // there is such a user, with a password
    Instant refuse_at;   // not 0: it failed, and is told so then
    std::string answer;  // what it is told
};

}  // namespace ferry::server::native
