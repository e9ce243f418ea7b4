#pragma once

#include "command.hpp"
#include "context.hpp"

// One function per subcommand, each in a file of its own name. Each adds itself to `app`; when the
// command line names it, it sets context.run.
namespace ferry::cli {

void add_ping(Command& app, Context& context);
void add_publish(Command& app, Context& context);
void add_call(Command& app, Context& context);
void add_serve(Command& app, Context& context);
void add_consume(Command& app, Context& context);
void add_tx(Command& app, Context& context);
void add_forward(Command& app, Context& context);
void add_queue(Command& app, Context& context);
void add_definitions(Command& app, Context& context);
void add_schedule(Command& app, Context& context);
void add_prepared(Command& app, Context& context);
void add_service(Command& app, Context& context);
void add_lock(Command& app, Context& context);
void add_why(Command& app, Context& context);
void add_consumers(Command& app, Context& context);
void add_user(Command& app, Context& context);
void add_policy(Command& app, Context& context);
void add_exchange(Command& app, Context& context);
void add_top(Command& app, Context& context);
void add_backup(Command& app, Context& context);
void add_restore(Command& app, Context& context);
void add_relay(Command& app, Context& context);
void add_log(Command& app, Context& context);
void add_outbox(Command& app, Context& context);
void add_chaos(Command& app, Context& context);
void add_bench(Command& app, Context& context);
void add_inbox(Command& app, Context& context);
void add_saga(Command& app, Context& context);
void add_topic(Command& app, Context& context);
void add_bridge(Command& app, Context& context);
void add_completion(Command& app, Context& context);

/// Text for the end of a command's --help.
[[nodiscard]] std::string examples(std::initializer_list<const char*> lines);

}  // namespace ferry::cli
