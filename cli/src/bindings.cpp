#include "bindings.hpp"

#include <memory>
#include <string>
#include <vector>

#include "commands/commands.hpp"
#include "message_json.hpp"

namespace ferry::cli {
namespace {

struct Options {
    transport::Binding binding;
    std::vector<std::string> arguments;
};

int run(const Context& context, const Options& options, bool bind) {
    transport::Binding binding = options.binding;
    for (const std::string& text : options.arguments) {
        auto argument = parse_header(text);
        if (!argument) return fail(exit_usage, "--argument wants name=value, not '" + text + "'");
        binding.arguments.push_back(std::move(*argument));
    }
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto done = bind ? client.value()->bind(binding) : client.value()->unbind(binding);
    return done.ok() ? exit_done : fail(done.error());
}

void add_one(Command& parent, Context& context, const std::string& kind, bool bind) {
    auto options = std::make_shared<Options>();
    options->binding.kind = kind;
    Command* command = parent.add_subcommand(
        bind ? "bind" : "unbind",
        bind ? "Route messages of an exchange to this " + kind : "Take a binding away");
    command->add_option(kind, options->binding.destination, "Where messages go")->required();
    command->add_option("--exchange,--source", options->binding.source, "Where they come from")
        ->required();
    command->add_option("--key", options->binding.key,
                        "Routing key; for topic exchanges with * (one word) and # (any words)");
    command
        ->add_option("--weight", options->binding.key,
                     "Consistent-hash exchanges: 1 to 64, the share of the keys (is the key)")
        ->excludes("--key");
    command
        ->add_option(
            "--argument", options->arguments,
            "name=value that a headers exchange compares; x-match=any or all; may be repeated")
        ->allow_extra_args(false);
    const std::string verb = std::string("ferry ") + kind + (bind ? " bind" : " unbind");
    const std::string topic = verb + " orders --exchange events --key 'order.*.paid'";
    const std::string headers =
        verb + " orders --exchange by-region --argument x-match=all --argument region=eu";
    const std::string spread = verb + " orders --exchange spread --weight 2";
    command->footer(examples({topic.c_str(), headers.c_str(), spread.c_str()}));
    command->callback([&context, options, bind] {
        context.run = [&context, options, bind] { return run(context, *options, bind); };
    });
}

}  // namespace

void add_binding_commands(Command& parent, Context& context, const char* kind) {
    add_one(parent, context, kind, true);
    add_one(parent, context, kind, false);
}

}  // namespace ferry::cli
