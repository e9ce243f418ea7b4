#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

int run_ping(const Context& context, const std::string& wait) {
    transport::ClientOptions options;
    options.publisher = false;
    const auto patience = parse_duration(wait);
    if (patience && patience->count() > 0) {
        options.connect_retry = true;
        options.connect_timeout_ms = static_cast<std::uint32_t>(patience->count());
    }
    auto client = connect(context, std::move(options));
    if (!client.ok()) return fail(client.error());
    const auto took = client.value()->ping();
    if (!took.ok()) return fail(took.error());
    const transport::ServerInfo server = client.value()->server();
    const double ms = static_cast<double>(took.value()) / 1e6;
    if (context.json) {
        print_json({{"url", context.url},
                    {"server", server.server},
                    {"log_id", server.log_id},
                    {"round_trip_ms", ms}});
    } else {
        std::printf("%s at %s answers in %.3f ms\n", server.server.c_str(), context.url.c_str(),
                    ms);
    }
    return exit_done;
}

}  // namespace

void add_ping(Command& app, Context& context) {
    Command* command = app.add_subcommand("ping", "Ask whether the broker is there");
    auto wait = std::make_shared<std::string>("0");
    add_duration(*command, "--wait", *wait, "Keep trying for so long until the broker answers");
    command->footer(examples({"ferry ping", "ferry ping --wait 30s"}));
    command->callback(
        [&context, wait] { context.run = [&context, wait] { return run_ping(context, *wait); }; });
}

}  // namespace ferry::cli
