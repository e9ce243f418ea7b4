#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "ferry/transport/client.hpp"

namespace ferry::cli {

/// What the process ends with. Scripts rely on these; docs and every --help say the same.
enum Exit : int {
    exit_done = 0,
    exit_refused = 1,  // the broker said no, or there is no such thing
    exit_usage = 2,
    exit_unreachable = 3,
};

/// What every command may use. Lives as long as the program.
struct Context {
    std::string url = "ferry://127.0.0.1:7420";
    transport::Security security;
    std::string password_file;
    bool json = false;
    bool connects = true;      // the command speaks to a broker
    std::function<int()> run;  // set by the parsed command
};

/// Prints "ferry: text" to stderr and gives back `status`.
int fail(int status, std::string_view text);
/// The same for what the client library answered: unreachable or no answer is 3, everything else 1.
int fail(const transport::ClientError& error);
int fail(const Error& error, std::string_view doing);

/// A client that does not publish unless `options.publisher` says so. Checks the URL's scheme
/// first.
transport::Answer<std::unique_ptr<transport::Client>> connect(const Context& context,
                                                              transport::ClientOptions options);
transport::Answer<std::unique_ptr<transport::Client>> connect(const Context& context);

/// Fills in the password of --user: from its file, or asked for at a terminal. False: it was told
/// why not.
[[nodiscard]] bool find_password(Context& context);

/// From now on Ctrl-C and SIGTERM only set a flag, so that a command can finish what it began.
void catch_interrupts();
[[nodiscard]] bool interrupted();

}  // namespace ferry::cli
