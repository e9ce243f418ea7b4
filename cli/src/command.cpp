#include "command.hpp"

#include <CLI/CLI.hpp>

namespace ferry::cli {

Flag* Flag::required() {
    option_->required();
    return this;
}

Flag* Flag::range(std::uint64_t least, std::uint64_t most) {
    option_->check(CLI::Range(least, most));
    return this;
}

Flag* Flag::one_of(const std::vector<std::string>& values) {
    option_->check(CLI::IsMember(values));
    return this;
}

Flag* Flag::check(std::function<std::string(const std::string&)> wrong, const std::string& kind) {
    option_->check(CLI::Validator(
        [wrong = std::move(wrong)](const std::string& text) { return wrong(text); }, kind));
    return this;
}

Flag* Flag::capture_default_str() {
    option_->capture_default_str();
    return this;
}

Flag* Flag::excludes(const std::string& name) {
    option_->excludes(name);
    return this;
}

Flag* Flag::excludes(Flag* other) {
    option_->excludes(other->option_);
    return this;
}

Flag* Flag::needs(Flag* other) {
    option_->needs(other->option_);
    return this;
}

Flag* Flag::envname(const std::string& name) {
    option_->envname(name);
    return this;
}

Flag* Flag::type_name(const std::string& name) {
    option_->type_name(name);
    return this;
}

Flag* Flag::allow_extra_args(bool allow) {
    option_->allow_extra_args(allow);
    return this;
}

Flag* Flag::expected(int count) {
    option_->expected(count);
    return this;
}

std::size_t Flag::count() const {
    return option_->count();
}

Command::Command(const std::string& about, const std::string& name)
    : owned_(std::make_shared<CLI::App>(about, name)), app_(owned_.get()) {}

Command::~Command() = default;

Command* Command::add_subcommand(const std::string& name, const std::string& about) {
    commands_.push_back(std::unique_ptr<Command>(new Command(*app_->add_subcommand(name, about))));
    return commands_.back().get();
}

Flag* Command::kept(CLI::Option& option) {
    return &flags_.emplace_back(option);
}

template <typename T>
Flag* Command::add(const std::string& names, T& target, const std::string& about) {
    return kept(*app_->add_option(names, target, about));
}

Flag* Command::add_option(const std::string& names, std::string& target, const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, std::vector<std::string>& target,
                          const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, bool& target, const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, std::uint8_t& target,
                          const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, std::uint16_t& target,
                          const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, std::uint32_t& target,
                          const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, std::uint64_t& target,
                          const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, std::vector<std::int64_t>& target,
                          const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, std::int64_t& target,
                          const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, int& target, const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, double& target, const std::string& about) {
    return add(names, target, about);
}
Flag* Command::add_option(const std::string& names, std::optional<std::string>& target,
                          const std::string& about) {
    return add(names, target, about);
}

Flag* Command::add_flag(const std::string& names, bool& target, const std::string& about) {
    return kept(*app_->add_flag(names, target, about));
}

void Command::footer(const std::string& text) {
    app_->footer(text);
}

void Command::callback(std::function<void()> called) {
    app_->callback(std::move(called));
}

void Command::require_subcommand(int count) {
    app_->require_subcommand(count);
}

void Command::fallthrough() {
    app_->fallthrough();
}

bool Command::parsed() const {
    return app_->parsed();
}

std::string Command::get_name() const {
    return app_->get_name();
}

void Command::set_version_flag(const std::string& names, const std::string& version) {
    app_->set_version_flag(names, version);
}

void Command::set_help_all_flag(const std::string& names, const std::string& about) {
    app_->set_help_all_flag(names, about);
}

std::optional<bool> Command::parse(int argc, const char* const* argv) {
    try {
        app_->parse(argc, argv);
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        return app_->exit(error) == 0;
    }
}

}  // namespace ferry::cli
