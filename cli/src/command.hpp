#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

// A thin front of CLI11. Its templates cost a compiler twenty seconds in every file that sees them;
// behind this header they are compiled once. Names are CLI11's.
namespace ferry::cli {

/// An option, flag or positional argument of a command. Lives as long as its command; each call
/// gives back the flag itself.
class Flag {
public:
    explicit Flag(CLI::Option& option) : option_(&option) {}

    Flag* required();
    /// The value is a whole number in [least, most]; another one is a usage error that says so.
    Flag* range(std::uint64_t least, std::uint64_t most);
    Flag* one_of(const std::vector<std::string>& values);
    /// `wrong` says what is wrong with a text; nothing: it is right. `kind` stands in the help.
    Flag* check(std::function<std::string(const std::string&)> wrong, const std::string& kind);
    /// The target's value is shown as the default.
    Flag* capture_default_str();
    /// May not stand beside that one.
    Flag* excludes(const std::string& name);
    Flag* excludes(Flag* other);
    Flag* needs(Flag* other);
    Flag* envname(const std::string& name);
    Flag* type_name(const std::string& name);
    /// Each time it is named it takes one value.
    Flag* allow_extra_args(bool allow);
    Flag* expected(int count);
    /// How often the line named it.
    [[nodiscard]] std::size_t count() const;

private:
    friend class Command;
    CLI::Option* option_;
};

/// A command, or the program. Targets are written while the line is parsed and must live until
/// then; commands live as long as the program's.
class Command {
public:
    /// The program.
    Command(const std::string& about, const std::string& name);
    ~Command();
    Command(const Command&) = delete;
    Command& operator=(const Command&) = delete;

    Command* add_subcommand(const std::string& name, const std::string& about);
    Flag* add_option(const std::string& names, std::string& target, const std::string& about);
    Flag* add_option(const std::string& names, std::vector<std::string>& target,
                     const std::string& about);
    Flag* add_option(const std::string& names, bool& target, const std::string& about);
    Flag* add_option(const std::string& names, std::uint8_t& target, const std::string& about);
    Flag* add_option(const std::string& names, std::uint16_t& target, const std::string& about);
    Flag* add_option(const std::string& names, std::uint32_t& target, const std::string& about);
    Flag* add_option(const std::string& names, std::uint64_t& target, const std::string& about);
    Flag* add_option(const std::string& names, std::vector<std::int64_t>& target,
                     const std::string& about);
    Flag* add_option(const std::string& names, std::int64_t& target, const std::string& about);
    Flag* add_option(const std::string& names, int& target, const std::string& about);
    Flag* add_option(const std::string& names, double& target, const std::string& about);
    Flag* add_option(const std::string& names, std::optional<std::string>& target,
                     const std::string& about);
    Flag* add_flag(const std::string& names, bool& target, const std::string& about);
    void footer(const std::string& text);
    /// Called when the line names this command, after its values were written.
    void callback(std::function<void()> called);
    void require_subcommand(int count);
    /// What a command does not know is looked for in the one above it.
    void fallthrough();
    /// The line named it.
    [[nodiscard]] bool parsed() const;
    [[nodiscard]] std::string get_name() const;

    // Of the program:

    void set_version_flag(const std::string& names, const std::string& version);
    void set_help_all_flag(const std::string& names, const std::string& about);
    /// Writes targets and calls the callbacks of what the line names. Nothing: go on. Otherwise
    /// help was printed (true), or what is wrong with the line (false).
    std::optional<bool> parse(int argc, const char* const* argv);

    /// What is behind it, for the program's own parsing and for the completion scripts.
    [[nodiscard]] CLI::App& app() { return *app_; }
    [[nodiscard]] const CLI::App& app() const { return *app_; }

private:
    explicit Command(CLI::App& app) : app_(&app) {}
    template <typename T>
    Flag* add(const std::string& names, T& target, const std::string& about);
    Flag* kept(CLI::Option& option);

    std::shared_ptr<CLI::App> owned_;  // the program's
    CLI::App* app_;
    std::deque<Flag> flags_;
    std::deque<std::unique_ptr<Command>> commands_;
};

}  // namespace ferry::cli
