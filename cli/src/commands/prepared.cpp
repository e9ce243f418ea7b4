// `ferry prepared`: messages of producers without an outbox, and those that are in doubt.

#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "commands/prepared.hpp"
#include "ferry/platform/clock.hpp"
#include "message_json.hpp"
#include "new_message.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::vector<std::string> ids;
    transport::PrepareOptions wanted;
    NewMessage message;
    std::string check_after;
    bool parked = false;
};

std::string seconds_text(std::uint64_t from_ms, std::uint64_t to_ms) {
    return to_ms < from_ms ? "0 s" : std::to_string((to_ms - from_ms + 500) / 1000) + " s";
}

/// What an operator has to know first.
std::string state_of(const transport::PreparedInfo& p) {
    if (p.parked) return "parked";
    if (p.unasked == "no_queue") return "no check queue";
    if (p.unasked == "queue_full") return "check queue full";
    if (p.unasked == "nobody_there") return "nobody answers";
    return p.asked == 0 ? "prepared" : "in doubt";
}

Json prepared_json(const transport::PreparedInfo& p) {
    return {{"id", p.id},
            {"state", state_of(p)},
            {"producer", p.producer},
            {"exchange", p.exchange},
            {"routing_key", p.routing_key},
            {"check_queue", p.check_queue},
            {"prepared_ms", p.prepared_ms},
            {"next_check_ms", p.next_check_ms},
            {"checks", p.checks},
            {"max_checks", p.max_checks},
            {"asked", p.asked},
            {"asked_ms", p.asked_ms},
            {"check_after_ms", p.check_after_ms},
            {"parked", p.parked},
            {"unasked", p.unasked}};
}

int add(const Context& context, const Options& options) {
    wire::Message message;
    if (const auto wrong = complete(options.message, message)) return *wrong;
    transport::PrepareOptions wanted = options.wanted;
    if (!options.check_after.empty()) {
        wanted.check_after_ms =
            static_cast<std::uint64_t>(parse_duration(options.check_after)->count());
    }
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto done = client.value()->prepare(message, wanted);
    if (!done.ok()) return fail(done.error());
    if (context.json) {
        print_json({{"id", done.value().id}, {"duplicate", done.value().duplicate}});
    } else {
        std::printf("%s\n", done.value().id.c_str());
    }
    return exit_done;
}

using Decide = transport::Answer<transport::PreparedResult> (transport::Client::*)(
    std::string_view, transport::Timeout);

int decide(const Context& context, const Options& options, Decide how) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    int status = exit_done;
    for (const std::string& id : options.ids) {
        const auto done = (client.value().get()->*how)(id, transport::Timeout{0});
        if (!done.ok()) {
            status = fail(done.error());
            if (status == exit_unreachable) return status;
        } else if (context.json) {
            print_json({{"id", id}, {"duplicate", done.value().duplicate}});
        } else if (done.value().duplicate) {
            std::fprintf(stderr, "%s: it was so before\n", id.c_str());
        }
    }
    return status;
}

int list(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::vector<std::vector<std::string>> rows{
        {"id", "state", ">age", ">checks", "check queue", "to", "producer"}};
    const std::uint64_t now = system_clock().now().wall_ms;
    std::string after;
    for (bool more = true; more;) {
        const auto page = client.value()->list_prepared(after, 1000, options.parked);
        if (!page.ok()) return fail(page.error());
        for (const transport::PreparedInfo& p : page.value().prepared) {
            if (context.json) print_json(prepared_json(p));
            rows.push_back({p.id, state_of(p), seconds_text(p.prepared_ms, now),
                            std::to_string(p.checks) + "/" + std::to_string(p.max_checks),
                            p.check_queue,
                            p.exchange.empty() ? p.routing_key : p.exchange + "/" + p.routing_key,
                            p.producer});
        }
        more = page.value().more && !page.value().prepared.empty();
        if (more) after = page.value().prepared.back().id;
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

int show(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    for (const std::string& id : options.ids) {
        const auto shown = client.value()->show_prepared(id);
        if (!shown.ok()) return fail(shown.error());
        Json json = prepared_json(shown.value());
        if (shown.value().has_message) {
            json["message"] =
                message_json(shown.value().message, {.queue = shown.value().routing_key});
        }
        if (context.json) {
            print_json(json);
            continue;
        }
        for (const auto& [name, value] : json.items()) {
            const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
            std::printf("%-14s %s\n", name.c_str(), text.c_str());
        }
    }
    return exit_done;
}

void add_add(Command& prepared, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command = prepared.add_subcommand(
        "add", "Prepare a message: it is kept, and published when it is submitted");
    transport::PrepareOptions& wanted = options->wanted;
    add_message_flags(*command, options->message, ", when submitted");
    command->add_option("--id", wanted.id, "Under which it is decided; default: a random one");
    command
        ->add_option("--checks", wanted.check_queue,
                     "Queue in which the broker asks when nobody decides")
        ->required();
    add_duration(*command, "--check-after", options->check_after,
                 "The first check comes after so long (10s); 100ms to a week");
    command->add_option("--max-checks", wanted.max_checks, "Checks before it is parked (15)")
        ->range(1, 1000);
    command->add_option("--producer", wanted.producer, "Who prepares; shown to people");
    command->footer(
        examples({"ferry prepared add --queue payments --checks payments.checks --id order-17 "
                  "--payload '{\"order\":17}'",
                  "ferry prepared add --exchange events --key order.paid --checks order.checks "
                  "--check-after 30s --file event.json"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return add(context, *options); };
    });
}

/// A command that takes ids.
template <class Run>
void add_for_ids(Command& prepared, Context& context, const char* name, const char* about,
                 Run run) {
    auto options = std::make_shared<Options>();
    Command* command = prepared.add_subcommand(name, about);
    command->add_option("id", options->ids, "Ids of prepared messages")->required();
    const std::string example = std::string("ferry prepared ") + name + " order-17";
    command->footer(examples({example.c_str()}));
    command->callback([&context, options, run] {
        context.run = [&context, options, run] { return run(context, *options); };
    });
}

}  // namespace

void add_prepared(Command& app, Context& context) {
    Command* prepared = app.add_subcommand(
        "prepared", "Messages that wait for their producer to submit or drop them");
    prepared->require_subcommand(1);
    add_add(*prepared, context);
    add_for_ids(*prepared, context, "submit", "Publish them",
                [](const Context& c, const Options& o) {
                    return decide(c, o, &transport::Client::submit);
                });
    add_for_ids(
        *prepared, context, "drop", "They will never be published",
        [](const Context& c, const Options& o) { return decide(c, o, &transport::Client::drop); });
    add_for_ids(*prepared, context, "resume", "Ask for them again, from now on",
                [](const Context& c, const Options& o) {
                    return decide(c, o, &transport::Client::resume_prepared);
                });
    add_for_ids(*prepared, context, "show", "All that is known of them", show);
    auto options = std::make_shared<Options>();
    Command* all = prepared->add_subcommand("list", "What is prepared and not decided");
    all->add_flag("--parked", options->parked, "Only what nobody decided in spite of all checks");
    all->footer(examples({"ferry prepared list", "ferry prepared list --parked --json"}));
    all->callback([&context, options] {
        context.run = [&context, options] { return list(context, *options); };
    });
    add_prepared_answer(*prepared, context);
}

}  // namespace ferry::cli
