#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "message_json.hpp"
#include "output.hpp"
#include "policy_flags.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string name;
    transport::PolicyOptions wanted;
    PolicyFlags flags;
};

Json policy_json(const transport::PolicyInfo& policy) {
    Json json{{"name", policy.name},
              {"pattern", policy.pattern},
              {"priority", policy.priority},
              {"source", policy.source},
              {"queues", policy.queues}};
    for (const auto& [name, value] : policy.settings) json["settings"][name] = header_json(value);
    return json;
}

std::string settings_text(const transport::PolicyInfo& policy) {
    std::string text;
    for (const auto& [name, value] : policy.settings) {
        const Json json = header_json(value);
        text += (text.empty() ? "" : " ") + name + "=";
        text += json.is_string() ? json.get<std::string>() : json.dump();
    }
    return text;
}

int report_queues(const Context& context, const transport::Answer<std::uint64_t>& queues,
                  const char* text) {
    if (!queues.ok()) return fail(queues.error());
    if (context.json) {
        print_json({{"queues", queues.value()}});
    } else {
        std::fprintf(stderr, "%s %s queues\n", text, with_commas(queues.value()).c_str());
    }
    return exit_done;
}

int set(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    transport::PolicyOptions wanted = options.wanted;
    wanted.settings = policy_of(options.flags);
    const auto queues = client.value()->set_policy(options.name, wanted);
    return report_queues(context, queues, wanted.check ? "its pattern fits" : "in force for");
}

int remove(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    return report_queues(context, client.value()->delete_policy(options.name), "ended for");
}

/// All policies, or those that `wanted` names; an error is told by *status.
std::vector<transport::PolicyInfo> all_policies(transport::Client& client, int* status) {
    std::vector<transport::PolicyInfo> all;
    std::string after;
    for (bool more = true; more;) {
        auto page = client.list_policies(after);
        if (!page.ok()) {
            *status = fail(page.error());
            return {};
        }
        more = page.value().more && !page.value().policies.empty();
        for (auto& policy : page.value().policies) all.push_back(std::move(policy));
        if (more) after = all.back().name;
    }
    return all;
}

int list(const Context& context) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    int status = exit_done;
    const auto all = all_policies(*client.value(), &status);
    if (status != exit_done) return status;
    std::vector<std::vector<std::string>> rows{
        {"name", "pattern", ">priority", "source", ">queues", "settings"}};
    for (const transport::PolicyInfo& policy : all) {
        if (context.json) print_json(policy_json(policy));
        rows.push_back({policy.name, policy.pattern, std::to_string(policy.priority), policy.source,
                        with_commas(policy.queues), settings_text(policy)});
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

int show(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    int status = exit_done;
    const auto all = all_policies(*client.value(), &status);
    if (status != exit_done) return status;
    for (const transport::PolicyInfo& policy : all) {
        if (policy.name != options.name) continue;
        if (context.json) {
            print_json(policy_json(policy));
            return exit_done;
        }
        Json json = policy_json(policy);
        json.erase("settings");
        for (const auto& [name, value] : policy.settings) json[name] = header_json(value);
        for (const auto& [name, value] : json.items()) {
            const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
            std::printf("%-20s %s\n", name.c_str(), text.c_str());
        }
        return exit_done;
    }
    return fail(exit_refused, "there is no policy '" + options.name + "'");
}

void add_set(Command& policy, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command = policy.add_subcommand("set", "Make a policy, or replace it");
    command->add_option("name", options->name, "The policy's name")->required();
    command
        ->add_option("--pattern", options->wanted.pattern,
                     "Names of queues; * for any run of characters, ? for one")
        ->required();
    command->add_option("--priority", options->wanted.priority,
                        "Of several policies that fit, the highest counts (0 to 1000)");
    command->add_flag("--check", options->wanted.check, "Only say whether it could be set");
    add_policy_flags(*command, options->flags);
    command->footer(examples({"ferry policy set short-lived --pattern 'tmp.*' --ttl 1h",
                              "ferry policy set jobs --pattern 'jobs.*' --priority 10 "
                              "--max-deliveries 5 --dead-letter dead"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return set(context, *options); };
    });
}

}  // namespace

void add_policy(Command& app, Context& context) {
    Command* policy = app.add_subcommand("policy", "Settings of queues by pattern of their names");
    policy->require_subcommand(1);
    add_set(*policy, context);
    Command* all = policy->add_subcommand("list", "All policies and what they set");
    all->footer(examples({"ferry policy list"}));
    all->callback([&context] { context.run = [&context] { return list(context); }; });

    auto shown = std::make_shared<Options>();
    Command* one = policy->add_subcommand("show", "One policy");
    one->add_option("name", shown->name, "The policy's name")->required();
    one->footer(examples({"ferry policy show short-lived"}));
    one->callback(
        [&context, shown] { context.run = [&context, shown] { return show(context, *shown); }; });

    auto gone = std::make_shared<Options>();
    Command* end = policy->add_subcommand("delete", "End a policy");
    end->add_option("name", gone->name, "The policy's name")->required();
    end->footer(examples({"ferry policy delete short-lived"}));
    end->callback(
        [&context, gone] { context.run = [&context, gone] { return remove(context, *gone); }; });
}

}  // namespace ferry::cli
