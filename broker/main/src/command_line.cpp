#include "command_line.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <string>

#include "config_file.hpp"
#include "policy_table.hpp"
#include "process.hpp"

namespace ferry::config {
namespace {

struct Flags {
    std::string config;
    std::optional<std::string> data;
    std::optional<std::string> listen;
    std::optional<std::string> http;
    bool allow_insecure = false;
    bool print_config = false;
};

/// The same rules for a flag as for the key in the file.
std::string apply_flag(const char* flag, const char* key, const std::optional<std::string>& value,
                       Configuration& configuration) {
    if (!value) return {};
    const auto all = settings();
    const auto setting =
        std::find_if(all.begin(), all.end(), [&](const Setting& each) { return each.key == key; });
    FERRY_ASSERT(setting != all.end(), "a flag sets a key that exists");
    if (setting->apply(configuration, RawValue(*value))) return {};
    return std::string(flag) + " \"" + *value + "\" must be " + setting->expected;
}

std::string combine(const Flags& flags, Configuration& configuration) {
    std::string error;
    if (!flags.config.empty() && !read_config_file(flags.config, configuration, error))
        return error;
    error = apply_flag("--data", "data.dir", flags.data, configuration);
    if (error.empty())
        error = apply_flag("--listen", "listen.address", flags.listen, configuration);
    if (error.empty()) error = apply_flag("--http", "http.address", flags.http, configuration);
    if (flags.allow_insecure) configuration.allow_insecure = true;
    return error.empty() ? check_together(configuration) : error;
}

void print_configuration(const Configuration& configuration) {
    std::string table;
    for (const Setting& setting : settings()) {
        const auto dot = setting.key.find('.');
        if (setting.key.substr(0, dot) != table) {
            table = setting.key.substr(0, dot);
            std::cout << "[" << table << "]\n";
        }
        std::cout << setting.key.substr(dot + 1) << " = " << setting.show(configuration) << "\n";
    }
    for (const auto& policy : configuration.broker.policies) std::cout << policy_text(policy);
}

}  // namespace

std::optional<Configuration> read_command_line(int argc, char** argv, int* exit_code) {
    CLI::App app(
        "ferryd: the ferrymq broker. Every key of --config is described in config/ferryd.toml.",
        "ferryd");
    Flags flags;
    app.add_option("--config", flags.config, "TOML file to read")->type_name("FILE");
    app.add_option("--data", flags.data, "data directory (data.dir)")->type_name("DIR");
    app.add_option("--listen", flags.listen, "where clients connect (listen.address)")
        ->type_name("HOST:PORT");
    app.add_option("--http", flags.http, "metrics and health (http.address); \"\" for none")
        ->type_name("HOST:PORT");
    app.add_flag("--allow-insecure", flags.allow_insecure,
                 "listen where other machines reach it, without TLS and passwords");
    app.add_flag("--print-config", flags.print_config,
                 "show every key as it would be used, and leave");
    app.set_version_flag("--version", std::string("ferryd ") + FERRY_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {  // also --help and --version
        const bool asked = error.get_exit_code() == 0;
        *exit_code = asked ? exit_clean : exit_usage;
        if (asked) {
            app.exit(error);
        } else {
            std::cerr << "ferryd: " << error.what() << "; try ferryd --help\n";
        }
        return std::nullopt;
    }
    Configuration configuration;
    if (const std::string error = combine(flags, configuration); !error.empty()) {
        std::cerr << "ferryd: " << error << "\n";
        *exit_code = exit_usage;
        return std::nullopt;
    }
    if (flags.print_config) {
        print_configuration(configuration);
        *exit_code = exit_clean;
        return std::nullopt;
    }
    return configuration;
}

}  // namespace ferry::config
