#pragma once

#include <CLI/App.hpp>

#include "context.hpp"

// One function per subcommand, each in a file of its own name. Each adds itself to `app`; when the
// command line names it, it sets context.run.
namespace ferry::cli {

void add_ping(CLI::App& app, Context& context);
void add_publish(CLI::App& app, Context& context);
void add_consume(CLI::App& app, Context& context);
void add_tx(CLI::App& app, Context& context);
void add_forward(CLI::App& app, Context& context);
void add_queue(CLI::App& app, Context& context);
void add_definitions(CLI::App& app, Context& context);
void add_schedule(CLI::App& app, Context& context);
void add_why(CLI::App& app, Context& context);
void add_policy(CLI::App& app, Context& context);
void add_exchange(CLI::App& app, Context& context);
void add_top(CLI::App& app, Context& context);
void add_backup(CLI::App& app, Context& context);
void add_restore(CLI::App& app, Context& context);
void add_relay(CLI::App& app, Context& context);
void add_log(CLI::App& app, Context& context);
void add_outbox(CLI::App& app, Context& context);
void add_bench(CLI::App& app, Context& context);
void add_inbox(CLI::App& app, Context& context);
void add_saga(CLI::App& app, Context& context);
void add_completion(CLI::App& app, Context& context);

/// Text for the end of a command's --help.
[[nodiscard]] std::string examples(std::initializer_list<const char*> lines);

}  // namespace ferry::cli
