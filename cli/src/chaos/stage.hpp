#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chaos/plan.hpp"
#include "chaos/recorder.hpp"
#include "child.hpp"
#include "ferry/platform/result.hpp"

namespace ferry::cli::chaos {

/// Why a run cannot go on: a sentence for people.
struct Trouble {
    std::string text;
};
using Went = ResultOr<Done, Trouble>;

/// One of the programs of a run: started, killed, paused and started again.
///
/// Threads   One. The destructor kills it.
enum class Role : std::uint8_t { broker, relay, consumer };

class Program {
public:
    Program(Role role, std::string name, std::uint32_t process, std::vector<std::string> command,
            Child::Environment environment, std::string output);
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    Went start();
    /// SIGKILL, also for one that is paused; returns when it is gone. The history hears of it.
    void kill(Recorder& recorder);
    /// SIGSTOP, until `until` (see wake()).
    void pause(std::chrono::steady_clock::time_point until);
    /// SIGCONT if its time has come, or in any case.
    void wake(bool in_any_case);
    [[nodiscard]] bool running();
    /// SIGTERM, and SIGKILL after `patience`. Its exit status.
    int stop(std::chrono::milliseconds patience);

    [[nodiscard]] Role role() const { return role_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const std::string& output() const { return output_; }
    [[nodiscard]] bool paused() const { return paused_until_.has_value(); }
    std::uint64_t kills = 0;
    std::uint64_t pauses = 0;
    std::uint64_t ended_by_itself = 0;

private:
    int reap(std::chrono::steady_clock::time_point deadline);

    Role role_;
    std::string name_;
    std::uint32_t process_;
    std::vector<std::string> command_;
    Child::Environment environment_;
    std::string output_;
    std::optional<Child> child_;
    std::optional<std::chrono::steady_clock::time_point> paused_until_;
};

/// The programs of a run, in a directory: the broker on a port of its own, two
/// relays that share the work by a lease, the handlers.
///
///     ferryd.toml  data/  outbox.db  handler/ (theirs)  *.log (what they say)  history.jsonl
class Stage {
public:
    /// Makes the directory's content; starts nothing.
    static ResultOr<std::unique_ptr<Stage>, Trouble> make(const Plan& plan);

    /// Starts the broker and waits until it takes connections.
    Went start_broker();
    /// Those that have ended by themselves are started again; true: there was one.
    ResultOr<bool, Trouble> start_missing();

    [[nodiscard]] Program& broker() { return programs_[0]; }
    /// The broker, the relays, the handlers.
    [[nodiscard]] std::deque<Program>& programs() { return programs_; }
    [[nodiscard]] const std::string& url() const { return url_; }
    [[nodiscard]] std::string path(const std::string& name) const {
        return plan_.directory + "/" + name;
    }
    /// What handlers and the check find in their environment.
    [[nodiscard]] Child::Environment environment(std::uint32_t worker) const;

private:
    explicit Stage(const Plan& plan) : plan_(plan) {}
    Went write_files();
    void list_programs();

    const Plan& plan_;
    std::uint16_t port_ = 0;
    std::string url_;
    std::deque<Program> programs_;
};

/// The end of a file of words, for a message about who wrote it.
[[nodiscard]] std::string last_lines(const std::string& path);

}  // namespace ferry::cli::chaos
