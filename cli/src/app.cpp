#include "app.hpp"

#include <cstdio>
#include <string>

#include "commands/commands.hpp"
#include "output.hpp"

namespace ferry::cli {

std::string examples(std::initializer_list<const char*> lines) {
    std::string text = "Examples:";
    for (const char* line : lines) text += std::string("\n  ") + line;
    return text;
}

std::unique_ptr<Command> make_app(Context& context) {
    auto app = std::make_unique<Command>(
        "ferry - publish to, consume from and look after a ferrymq broker", "ferry");
    // Commands inherit this: global options may stand anywhere on the line.
    app->fallthrough();
    app->require_subcommand(1);
    app->set_version_flag("--version", "ferry " FERRY_VERSION);
    app->set_help_all_flag("--help-all", "Help for every command");
    app->add_option("--url", context.url,
                    "Where the broker listens: ferry://host:port, with TLS ferrys://host:port, or "
                    "kafka://host:port,host:port")
        ->envname("FERRY_URL")
        ->capture_default_str();
    app->add_option("--user", context.security.user, "Sign in as this user")->envname("FERRY_USER");
    app->add_option("--password-file", context.password_file,
                    "First line: the user's password; else it is asked for")
        ->envname("FERRY_PASSWORD_FILE");
    app->add_option("--ca", context.security.ca_file, "Trust brokers whose certificate this signed")
        ->envname("FERRY_CA_FILE");
    app->add_option("--cert", context.security.certificate_file, "Show this certificate")
        ->envname("FERRY_CERT_FILE");
    app->add_option("--key", context.security.key_file, "Its key, if that is another file")
        ->envname("FERRY_KEY_FILE");
    app->add_flag("--json", context.json, "Print JSON, one value per line");
    app->footer(
        examples({"ferry queue declare orders", "ferry publish orders 'hello'",
                  "ferry consume orders", "ferry top"}) +
        "\n\nExit status: 0 done, 1 refused or not found, 2 wrong usage, 3 broker unreachable.\n"
        "Data goes to stdout, everything else to stderr.");
    add_ping(*app, context);
    add_publish(*app, context);
    add_consume(*app, context);
    add_call(*app, context);
    add_serve(*app, context);
    add_tx(*app, context);
    add_forward(*app, context);
    add_queue(*app, context);
    add_exchange(*app, context);
    add_policy(*app, context);
    add_user(*app, context);
    add_schedule(*app, context);
    add_prepared(*app, context);
    add_lock(*app, context);
    add_service(*app, context);
    add_definitions(*app, context);
    add_why(*app, context);
    add_consumers(*app, context);
    add_top(*app, context);
    add_bench(*app, context);
    add_chaos(*app, context);
    add_backup(*app, context);
    add_restore(*app, context);
    add_relay(*app, context);
    add_log(*app, context);
    add_outbox(*app, context);
    add_inbox(*app, context);
    add_saga(*app, context);
    add_topic(*app, context);
    add_bridge(*app, context);
    add_completion(*app, context);
    return app;
}

int run_app(int argc, const char* const* argv) {
    Context context;
    const auto app = make_app(context);
    if (const auto ended = app->parse(argc, argv)) return *ended ? exit_done : exit_usage;
    if (!context.run) return fail(exit_usage, "this command needs more; see --help");
    context.security.by_certificate =
        context.security.user.empty() && !context.security.certificate_file.empty();
    if (context.connects && !find_password(context)) return exit_usage;
    const int status = context.run();
    if (!flush_out() && status == exit_done) return fail(exit_refused, "cannot write to stdout");
    return status;
}

}  // namespace ferry::cli
