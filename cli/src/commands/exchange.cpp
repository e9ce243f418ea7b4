#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "bindings.hpp"
#include "commands/commands.hpp"
#include "message_json.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string name;
    std::string type = "direct";
    transport::ExchangeOptions declare;
    bool transient = false;
    bool if_unused = false;
};

Json exchange_json(const transport::ExchangeInfo& exchange) {
    return {{"name", exchange.name},
            {"type", exchange.type},
            {"durable", exchange.durable},
            {"auto_delete", exchange.auto_delete},
            {"internal", exchange.internal}};
}

// Only consistent-hash exchanges have one.
std::string hash_of(const transport::ExchangeInfo& exchange) {
    return exchange.hash.empty() ? "" : " hash=" + exchange.hash;
}

Json binding_json(const transport::Binding& binding) {
    Json out{{"destination", binding.destination}, {"kind", binding.kind}, {"key", binding.key}};
    Json& arguments = out["arguments"] = Json::object();
    for (const auto& [name, value] : binding.arguments) arguments[name] = header_json(value);
    return out;
}

std::string settings(const transport::ExchangeInfo& exchange) {
    std::string text = exchange.durable ? "durable" : "transient";
    if (exchange.auto_delete) text += " auto-delete";
    if (exchange.internal) text += " internal";
    return text + hash_of(exchange);
}

int declare(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    transport::ExchangeOptions wanted = options.declare;
    wanted.durable = !options.transient;
    const auto done = client.value()->declare_exchange(options.name, options.type, wanted);
    if (!done.ok()) return fail(done.error());
    if (context.json) print_json({{"exchange", options.name}});
    return exit_done;
}

int list(const Context& context) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::vector<std::vector<std::string>> rows{{"name", "type", "settings", ">bindings"}};
    std::string after;
    for (bool more = true; more;) {
        const auto page = client.value()->list_exchanges(after);
        if (!page.ok()) return fail(page.error());
        for (const transport::ExchangeInfo& exchange : page.value().exchanges) {
            if (context.json) {
                Json json = exchange_json(exchange);
                json["bindings"] = exchange.binding_count;
                print_json(json);
                continue;
            }
            rows.push_back({exchange.name.empty() ? "(default)" : exchange.name, exchange.type,
                            settings(exchange), with_commas(exchange.binding_count)});
        }
        more = page.value().more && !page.value().exchanges.empty();
        if (more) after = page.value().exchanges.back().name;
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

int show(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto exchange = client.value()->show_exchange(options.name);
    if (!exchange.ok()) return fail(exchange.error());
    if (context.json) {
        Json json = exchange_json(exchange.value());
        Json& bindings = json["bindings"] = Json::array();
        for (const auto& binding : exchange.value().bindings)
            bindings.push_back(binding_json(binding));
        if (!exchange.value().hash.empty()) json["hash"] = exchange.value().hash;
        print_json(json);
        return exit_done;
    }
    std::printf("%s  %s  %s\n", exchange.value().name.c_str(), exchange.value().type.c_str(),
                settings(exchange.value()).c_str());
    std::vector<std::vector<std::string>> rows{{"to", "kind", "key", "arguments"}};
    for (const transport::Binding& binding : exchange.value().bindings) {
        const std::string arguments =
            binding.arguments.empty() ? "" : binding_json(binding)["arguments"].dump();
        rows.push_back({binding.destination, binding.kind, binding.key, arguments});
    }
    print_table(rows);
    return exit_done;
}

int remove(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto done = client.value()->delete_exchange(options.name, options.if_unused);
    return done.ok() ? exit_done : fail(done.error());
}

void add_declare(Command& exchange, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command =
        exchange.add_subcommand("declare", "Make an exchange, or check that it is as said");
    command->add_option("exchange", options->name, "The exchange")->required();
    command
        ->add_option("--type", options->type, "direct, topic, fanout, headers or consistent-hash")
        ->one_of({"direct", "topic", "fanout", "headers", "consistent-hash"})
        ->capture_default_str();
    command->add_option("--hash", options->declare.hash,
                        "What a consistent-hash exchange hashes: routing_key (default), "
                        "ordering_key or header:NAME");
    command->add_flag("--transient", options->transient, "The exchange does not survive a restart");
    command->add_flag("--auto-delete", options->declare.auto_delete, "Goes with its last binding");
    command->add_flag("--internal", options->declare.internal,
                      "Only other exchanges publish to it");
    command->add_flag("--passive", options->declare.passive, "Only ask whether it exists");
    command->footer(examples({"ferry exchange declare events --type topic",
                              "ferry exchange declare spread --type consistent-hash --hash "
                              "ordering_key"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return declare(context, *options); };
    });
}

void add_others(Command& exchange, Context& context) {
    Command* all = exchange.add_subcommand("list", "All exchanges");
    all->footer(examples({"ferry exchange list", "ferry exchange list --json"}));
    all->callback([&context] { context.run = [&context] { return list(context); }; });

    auto options = std::make_shared<Options>();
    Command* one = exchange.add_subcommand("show", "One exchange with its bindings");
    one->add_option("exchange", options->name, "The exchange")->required();
    one->footer(examples({"ferry exchange show events"}));
    one->callback([&context, options] {
        context.run = [&context, options] { return show(context, *options); };
    });
    Command* gone = exchange.add_subcommand("delete", "Delete an exchange and its bindings");
    gone->add_option("exchange", options->name, "The exchange")->required();
    gone->add_flag("--if-unused", options->if_unused, "Refuse when it has bindings");
    gone->footer(examples({"ferry exchange delete events"}));
    gone->callback([&context, options] {
        context.run = [&context, options] { return remove(context, *options); };
    });
}

}  // namespace

void add_exchange(Command& app, Context& context) {
    Command* exchange =
        app.add_subcommand("exchange", "Declare, look at, bind and delete exchanges");
    exchange->require_subcommand(1);
    exchange->footer(examples({"ferry exchange declare events --type topic",
                               "ferry queue bind orders --exchange events --key 'order.#'",
                               "ferry exchange show events"}));
    add_declare(*exchange, context);
    add_binding_commands(*exchange, context, "exchange");
    add_others(*exchange, context);
}

}  // namespace ferry::cli
