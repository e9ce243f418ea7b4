#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "bindings.hpp"
#include "commands/commands.hpp"
#include "message_json.hpp"
#include "options.hpp"
#include "output.hpp"
#include "policy_flags.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string name;
    transport::QueueOptions declare;
    bool transient = false;
    std::string lease;
    transport::DeleteQueueOptions remove;
    std::uint64_t skip = 0;
    std::uint32_t count = 10;
    PolicyFlags policy;
    std::string id;
    transport::MoveSelection selection;
    std::string target;
};

Json queue_json(const transport::QueueInfo& queue) {
    return {{"name", queue.name},
            {"durable", queue.durable},
            {"exclusive", queue.exclusive},
            {"auto_delete", queue.auto_delete},
            {"lease_ms", queue.lease_ms},
            {"ready", queue.ready},
            {"ready_bytes", queue.ready_bytes},
            {"unacked", queue.unacked},
            {"consumers", queue.consumers},
            {"stuck", queue.stuck},
            {"published", queue.published},
            {"delivered", queue.delivered},
            {"acked", queue.acked},
            {"returned", queue.returned},
            {"delayed", queue.delayed},
            {"leaving", queue.leaving},
            {"parked", queue.parked},
            {"dead_lettered", queue.dead_lettered},
            {"expired", queue.expired},
            {"dropped", queue.dropped},
            {"repeated", queue.repeated},
            {"ids", queue.ids},
            {"ordered", queue.ordered},
            {"single_active", queue.single_active},
            {"held_keys", queue.held_keys},
            {"blocked", queue.blocked},
            {"oldest_unacked_ms", queue.oldest_unacked_ms}};
}

Json member_json(const transport::QueueMember& member) {
    return {{"session", member.session},  {"subscription", member.subscription},
            {"member", member.member},    {"active", member.active},
            {"unacked", member.unacked},  {"slots", member.slots},
            {"draining", member.draining}};
}

// Who consumes, and which share of the keys comes to whom.
void print_members(const transport::QueueInfo& queue) {
    if (queue.members.empty() || (!queue.ordered && !queue.single_active)) return;
    std::vector<std::vector<std::string>> rows{
        {"consumer", "state", ">unacked", ">slots", ">draining"}};
    for (const transport::QueueMember& member : queue.members) {
        const std::string name =
            std::to_string(member.session) + "." + std::to_string(member.subscription);
        rows.push_back({member.member.empty() ? name : member.member,
                        member.active ? "active" : "waits", with_commas(member.unacked),
                        with_commas(member.slots), with_commas(member.draining)});
    }
    std::printf("\n");
    print_table(rows);
}

int declare(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    transport::QueueOptions wanted = options.declare;
    wanted.durable = !options.transient;
    if (!options.lease.empty()) {
        wanted.lease_ms = static_cast<std::uint64_t>(parse_duration(options.lease)->count());
    }
    wanted.policy = policy_of(options.policy);
    const auto declared = client.value()->declare_queue(options.name, wanted);
    if (!declared.ok()) return fail(declared.error());
    if (context.json) {
        print_json({{"queue", declared.value().name},
                    {"messages", declared.value().messages},
                    {"consumers", declared.value().consumers}});
    } else {
        std::printf("%s\n", declared.value().name.c_str());
    }
    return exit_done;
}

int list(const Context& context) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::vector<std::vector<std::string>> rows{
        {"name", ">ready", ">unacked", ">consumers", ">published", ">acked", ">bytes ready"}};
    std::string after;
    for (bool more = true; more;) {
        const auto page = client.value()->list_queues(after);
        if (!page.ok()) return fail(page.error());
        for (const transport::QueueInfo& queue : page.value().queues) {
            if (context.json) {
                print_json(queue_json(queue));
                continue;
            }
            rows.push_back({queue.name, with_commas(queue.ready), with_commas(queue.unacked),
                            with_commas(queue.consumers), with_commas(queue.published),
                            with_commas(queue.acked), human_bytes(queue.ready_bytes)});
        }
        more = page.value().more && !page.value().queues.empty();
        if (more) after = page.value().queues.back().name;
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

int show(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto queue = client.value()->show_queue(options.name);
    if (!queue.ok()) return fail(queue.error());
    Json json = queue_json(queue.value());
    json["floor"] = queue.value().floor;
    Json from_policy = Json::array();
    for (const auto& [name, value] : queue.value().policy) {
        json[name] = header_json(value);
        const auto& own = queue.value().declared;
        const bool declared = std::any_of(own.begin(), own.end(), [&](const auto& setting) {
            return setting.first == name && setting.second == value;
        });
        if (!declared) from_policy.push_back(name);
    }
    const std::string& policy = queue.value().policy_name;
    if (context.json) {
        if (!policy.empty()) json["policy_name"] = policy;
        if (!policy.empty()) json["from_policy"] = from_policy;
        Json& members = json["members"] = Json::array();
        for (const auto& member : queue.value().members) members.push_back(member_json(member));
        print_json(json);
        return exit_done;
    }
    if (!policy.empty()) json["policy_name"] = policy;
    for (const auto& [name, value] : json.items()) {
        const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
        const bool lent =
            std::find(from_policy.begin(), from_policy.end(), name) != from_policy.end();
        const std::string origin = lent ? " (policy " + policy + ")" : "";
        std::printf("%-20s %s%s\n", name.c_str(), text.c_str(), origin.c_str());
    }
    print_members(queue.value());
    return exit_done;
}

int report_count(const Context& context, const char* name,
                 const transport::Answer<std::uint64_t>& gone) {
    if (!gone.ok()) return fail(gone.error());
    if (context.json) {
        print_json({{name, gone.value()}});
    } else {
        std::fprintf(stderr, "%s messages dropped\n", with_commas(gone.value()).c_str());
    }
    return exit_done;
}

int purge(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    return report_count(context, "messages", client.value()->purge_queue(options.name));
}

int remove(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    return report_count(context, "messages",
                        client.value()->delete_queue(options.name, options.remove));
}

int peek(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::uint64_t seen = 0;
    while (seen < options.count) {
        const auto wanted =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(options.count - seen, 1000));
        const auto page = client.value()->peek_queue(options.name, options.skip + seen, wanted);
        if (!page.ok()) return fail(page.error());
        if (page.value().empty()) break;
        for (const transport::PeekedMessage& message : page.value()) {
            if (context.json) {
                print_json(message_json(message.message, {options.name, message.position,
                                                          message.attempt, message.published_ms}));
            } else {
                write_out(message.message.payload);
                write_out("\n");
            }
        }
        seen += page.value().size();
    }
    return exit_done;
}

void add_peek(Command& queue, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command = queue.add_subcommand("peek", "Print messages without taking them");
    command->add_option("queue", options->name, "The queue")->required();
    command->add_option("--skip", options->skip, "Pass over so many first");
    command->add_option("--count", options->count, "At most so many")->capture_default_str();
    command->footer(
        examples({"ferry queue peek orders", "ferry queue peek orders --skip 100 --json"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return peek(context, *options); };
    });
}

int moved_count(const Context& context, const transport::Answer<std::uint64_t>& moved) {
    if (!moved.ok()) return fail(moved.error());
    if (context.json) {
        print_json({{"moved", moved.value()}});
    } else {
        std::fprintf(stderr, "%s messages moved\n", with_commas(moved.value()).c_str());
    }
    return exit_done;
}

int move(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    return moved_count(
        context, client.value()->move_messages(options.name, options.target, options.selection));
}

int drop(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    return report_count(context, "messages",
                        client.value()->drop_message(options.name, options.selection.position));
}

int cancel(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto gone = client.value()->cancel(options.name, options.id);
    if (gone.ok() && gone.value() == 0)
        return fail(exit_refused, "no delayed message of '" + options.name + "' has this id");
    return report_count(context, "messages", gone);
}

void add_cancel(Command& queue, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command =
        queue.add_subcommand("cancel", "Take a delayed message back before it is due");
    command->add_option("queue", options->name, "The queue")->required();
    command->add_option("id", options->id, "The message's id")->required();
    command->footer(examples({"ferry queue cancel reminders invoice-17"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return cancel(context, *options); };
    });
}

void add_moves(Command& queue, Context& context) {
    auto back = std::make_shared<Options>();
    Command* redrive =
        queue.add_subcommand("redrive", "Send dead letters back to the queues in which they died");
    redrive->add_option("queue", back->name, "The queue that holds the dead letters")->required();
    redrive->add_option("--count", back->selection.count, "At most so many, from the head");
    redrive->add_option("--position", back->selection.position, "Only the message there");
    redrive->footer(
        examples({"ferry queue redrive jobs.dead", "ferry queue redrive jobs.dead --count 10"}));
    redrive->callback(
        [&context, back] { context.run = [&context, back] { return move(context, *back); }; });

    auto moved = std::make_shared<Options>();
    Command* away = queue.add_subcommand("move", "Move messages to another queue");
    away->add_option("queue", moved->name, "The queue that holds them")->required();
    away->add_option("target", moved->target, "The queue that gets them")->required();
    away->add_option("--count", moved->selection.count, "At most so many, from the head");
    away->add_option("--position", moved->selection.position,
                     "Only the message there (see ferry queue peek --json)");
    away->add_flag("--parked", moved->selection.parked,
                   "Those that no queue took, instead of those that are ready");
    away->footer(examples({"ferry queue move jobs jobs.later --position 40960",
                           "ferry queue move jobs jobs --parked"}));
    away->callback(
        [&context, moved] { context.run = [&context, moved] { return move(context, *moved); }; });

    auto gone = std::make_shared<Options>();
    Command* one = queue.add_subcommand("drop", "Drop one message");
    one->add_option("queue", gone->name, "The queue")->required();
    one->add_option("position", gone->selection.position,
                    "Its position (see ferry queue peek --json)")
        ->required();
    one->footer(examples({"ferry queue drop jobs.dead 40960"}));
    one->callback(
        [&context, gone] { context.run = [&context, gone] { return drop(context, *gone); }; });
}

void add_declare(Command& queue, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command = queue.add_subcommand("declare", "Make a queue, or check that it is as said");
    command->add_option("queue", options->name,
                        "The queue; left out: a name is invented and printed");
    command->add_flag("--transient", options->transient, "The queue does not survive a restart");
    command->add_flag("--exclusive", options->declare.exclusive, "Only for this connection");
    command->add_flag("--auto-delete", options->declare.auto_delete, "Goes with its last consumer");
    command->add_flag("--passive", options->declare.passive, "Only ask whether it exists");
    command->add_flag("--ordered", options->declare.ordered,
                      "Messages of one ordering key one after another, also through retries");
    command->add_flag("--single-active", options->declare.single_active,
                      "One consumer at a time, the others wait for their turn");
    add_duration(*command, "--lease", options->lease,
                 "How long a consumer may keep a message unacked (default: the broker's)");
    add_policy_flags(*command, options->policy);
    command->add_flag("--priorities", options->policy.policy.priorities,
                      "Messages of a higher priority go first");
    command->footer(
        examples({"ferry queue declare orders", "ferry queue declare jobs --lease 10m",
                  "ferry queue declare payments --ordered",
                  "ferry queue declare jobs --retry exponential --retry-delay 1s --retry-max 5m "
                  "--retry-jitter 20 --max-deliveries 8 --dead-letter jobs.dead"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return declare(context, *options); };
    });
}

void add_list_and_show(Command& queue, Context& context) {
    Command* all = queue.add_subcommand("list", "All queues with their figures");
    all->footer(examples({"ferry queue list", "ferry queue list --json | jq .ready"}));
    all->callback([&context] { context.run = [&context] { return list(context); }; });

    auto options = std::make_shared<Options>();
    Command* one = queue.add_subcommand("show", "One queue with its settings and figures");
    one->add_option("queue", options->name, "The queue")->required();
    one->footer(examples({"ferry queue show orders"}));
    one->callback([&context, options] {
        context.run = [&context, options] { return show(context, *options); };
    });
}

void add_purge_and_delete(Command& queue, Context& context) {
    auto options = std::make_shared<Options>();
    Command* empty = queue.add_subcommand("purge", "Drop what is ready (not what is unacked)");
    empty->add_option("queue", options->name, "The queue")->required();
    empty->footer(examples({"ferry queue purge orders"}));
    empty->callback([&context, options] {
        context.run = [&context, options] { return purge(context, *options); };
    });
    Command* gone = queue.add_subcommand("delete", "Delete a queue with all that is in it");
    gone->add_option("queue", options->name, "The queue")->required();
    gone->add_flag("--if-empty", options->remove.if_empty, "Refuse when messages are ready");
    gone->add_flag("--if-unused", options->remove.if_unused, "Refuse when it has consumers");
    gone->footer(examples({"ferry queue delete orders", "ferry queue delete orders --if-empty"}));
    gone->callback([&context, options] {
        context.run = [&context, options] { return remove(context, *options); };
    });
}

}  // namespace

void add_queue(Command& app, Context& context) {
    Command* queue = app.add_subcommand("queue", "Declare, look at, bind and delete queues");
    queue->require_subcommand(1);
    queue->footer(examples({"ferry queue declare orders", "ferry queue list",
                            "ferry queue bind orders --exchange events --key 'order.*'"}));
    add_declare(*queue, context);
    add_list_and_show(*queue, context);
    add_binding_commands(*queue, context, "queue");
    add_peek(*queue, context);
    add_moves(*queue, context);
    add_cancel(*queue, context);
    add_purge_and_delete(*queue, context);
}

}  // namespace ferry::cli
