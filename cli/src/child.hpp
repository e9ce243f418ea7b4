#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ferry/platform/result.hpp"

namespace ferry::cli {

/// A command that this program runs.
///
/// Threads   One. Lifetime: the destructor does not wait; whoever starts it ends it.
class Child {
public:
    using Environment = std::vector<std::pair<std::string, std::string>>;
    /// Starts `command`, found by PATH, with `more` in its environment. With a group of its own
    /// signals reach whatever it starts, too; without one it shares the terminal's.
    ///
    /// Errors    not_found, io_failed: it could not be started.
    static Result<Child> start(const std::vector<std::string>& command, const Environment& more,
                               bool own_group);
    /// The same in a group of its own, with nothing to read, and what it writes put behind what is
    /// in the file `output`.
    ///
    /// Errors    also io_failed: the file cannot be written.
    static Result<Child> start_apart(const std::vector<std::string>& command,
                                     const Environment& more, const std::string& output);
    /// Its exit status as a shell shows it: 128 + the signal's number if one ended it. Nothing: it
    /// runs.
    [[nodiscard]] std::optional<int> poll();
    void send(int signal) const;

private:
    Child(pid_t pid, bool own_group) : pid_(pid), own_group_(own_group) {}

    pid_t pid_;
    bool own_group_;
    std::optional<int> status_;
};

/// Runs `command` with `input` on its stdin and gives what it wrote to stdout and its exit status.
///
/// Errors    not_found, io_failed: it could not be started, or wrote more than `output_max` bytes.
struct Filtered {
    std::string output;
    int status = 0;
};
Result<Filtered> filter(const std::vector<std::string>& command, const Child::Environment& more,
                        std::string_view input, std::size_t output_max);

}  // namespace ferry::cli
