#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "ferry/consumer/inbox.hpp"
#include "ferry/consumer/inbox_admin.hpp"
#include "ferry/platform/clock.hpp"
#include "options.hpp"
#include "output.hpp"
#include "units.hpp"

namespace ferry::cli {
namespace {

using Access = sqlite::Database::Access;

struct Options {
    std::string database;
    std::string consumer;
    std::string id;
    std::string older_than;
    std::uint32_t count = 1000;
    bool everything = false;
};

int fail_with(const sqlite::Problem& problem) {
    return fail(exit_refused, problem.text);
}

std::string ago(std::uint64_t ms) {
    const std::uint64_t now = system_clock().now().wall_ms;
    if (ms == 0 || ms > now) return "-";
    return std::to_string((now - ms) / 1000) + " s ago";
}

int init(const Options& options) {
    if (auto made = consumer::Inbox::init(options.database); !made.ok()) {
        return fail_with(made.error());
    }
    std::fprintf(stderr, "%s has an inbox\n", options.database.c_str());
    return exit_done;
}

int status(const Context& context, const Options& options) {
    auto db = sqlite::Database::open(options.database, Access::read_only);
    if (!db.ok()) return fail_with(db.error());
    const auto rows = consumer::inbox_status(db.value());
    if (!rows.ok()) return fail_with(rows.error());
    std::vector<std::vector<std::string>> table{
        {"consumer", "queue", ">floor", "running", ">producers", ">ranges", ">unsure", ">ids"}};
    for (const consumer::ConsumerRow& row : rows.value()) {
        if (context.json) {
            print_json({{"consumer", row.name},
                        {"queue", row.queue},
                        {"log_id", row.log_id},
                        {"floor", row.floor},
                        {"running", row.running},
                        {"cursors", row.cursors},
                        {"ranges", row.ranges},
                        {"unsure", row.unsure},
                        {"ids", row.ids},
                        {"oldest_id_ms", row.oldest_id_ms}});
            continue;
        }
        table.push_back({row.name, row.queue.empty() ? "-" : row.queue, with_commas(row.floor),
                         row.running ? "yes" : "no", with_commas(row.cursors),
                         with_commas(row.ranges), with_commas(row.unsure), with_commas(row.ids)});
    }
    if (!context.json) print_table(table);
    return exit_done;
}

int list(const Context& context, const Options& options) {
    auto db = sqlite::Database::open(options.database, Access::read_only);
    if (!db.ok()) return fail_with(db.error());
    const auto rows = consumer::inbox_cursors(db.value(), options.consumer, options.count);
    if (!rows.ok()) return fail_with(rows.error());
    std::vector<std::vector<std::string>> table{
        {"consumer", "producer", ">epoch", ">below", ">ranges", ">newest", "seen"}};
    for (const consumer::CursorRow& row : rows.value()) {
        if (context.json) {
            print_json({{"consumer", row.consumer},
                        {"producer", row.producer},
                        {"epoch", row.epoch},
                        {"below", row.below},
                        {"ranges", row.ranges},
                        {"newest", row.newest},
                        {"seen_ms", row.seen_ms}});
            continue;
        }
        table.push_back({row.consumer, row.producer, with_commas(row.epoch), with_commas(row.below),
                         with_commas(row.ranges), with_commas(row.newest), ago(row.seen_ms)});
    }
    if (!context.json) print_table(table);
    return exit_done;
}

int show(const Context& context, const Options& options) {
    auto db = sqlite::Database::open(options.database, Access::read_only);
    if (!db.ok()) return fail_with(db.error());
    const auto rows = consumer::inbox_show(db.value(), options.consumer, options.id);
    if (!rows.ok()) return fail_with(rows.error());
    for (const consumer::Known& row : rows.value()) {
        if (context.json) {
            print_json({{"consumer", row.consumer},
                        {"id", row.id},
                        {"applied", row.applied},
                        {"why", row.why}});
        } else {
            std::printf("%s: %s, %s\n", row.consumer.c_str(),
                        row.applied ? "a repeat" : "would be applied", row.why.c_str());
        }
    }
    return exit_done;
}

int purge(const Context& context, const Options& options) {
    auto db = sqlite::Database::open(options.database, Access::read_write);
    if (!db.ok()) return fail_with(db.error());
    auto purged = options.everything ? consumer::inbox_forget(db.value(), options.consumer) : [&] {
        const auto keep = parse_duration(options.older_than);
        const auto ms = static_cast<std::uint64_t>(keep->count());
        const auto now = system_clock().now().wall_ms;
        return consumer::inbox_purge_ids(db.value(), options.consumer, now > ms ? now - ms : 0);
    }();
    if (!purged.ok()) return fail_with(purged.error());
    if (context.json) {
        print_json({{"ids", purged.value().ids},
                    {"cursors", purged.value().cursors},
                    {"ranges", purged.value().ranges}});
    } else {
        std::fprintf(stderr, "forgot %s ids, %s producers, %s ranges\n",
                     with_commas(purged.value().ids).c_str(),
                     with_commas(purged.value().cursors).c_str(),
                     with_commas(purged.value().ranges).c_str());
    }
    return exit_done;
}

int accept(const Options& options) {
    auto db = sqlite::Database::open(options.database, Access::read_write);
    if (!db.ok()) return fail_with(db.error());
    if (auto done = consumer::inbox_accept(db.value(), options.consumer); !done.ok()) {
        return fail_with(done.error());
    }
    std::fprintf(stderr, "%s goes on with the broker that it finds next\n",
                 options.consumer.c_str());
    return exit_done;
}

int verify(const Context& context, const Options& options) {
    auto db = sqlite::Database::open(options.database, Access::read_only);
    if (!db.ok()) return fail_with(db.error());
    const auto wrong = consumer::inbox_verify(db.value());
    if (!wrong.ok()) return fail_with(wrong.error());
    if (context.json) print_json({{"ok", wrong.value().empty()}, {"problems", wrong.value()}});
    for (const std::string& sentence : wrong.value()) {
        std::fprintf(stderr, "ferry: %s\n", sentence.c_str());
    }
    if (!wrong.value().empty()) return exit_refused;
    if (!context.json) std::printf("ok\n");
    return exit_done;
}

using Run = int (*)(const Context& context, const Options& options);

Command* add(Command& inbox, Context& context, const char* name, const char* what,
             const std::shared_ptr<Options>& options, Run run,
             std::initializer_list<const char*> lines) {
    Command* command = inbox.add_subcommand(name, what);
    command->add_option("database", options->database, "The SQLite file")->required();
    command->footer(examples(lines));
    command->callback([&context, options, run] {
        context.run = [&context, options, run] { return run(context, *options); };
    });
    return command;
}

void add_changing(Command& inbox, Context& context) {
    auto purge_options = std::make_shared<Options>();
    Command* command =
        add(inbox, context, "purge", "Forget ids of a time, or all that a consumer knows",
            purge_options, purge,
            {"ferry inbox purge app.db billing --older-than 720h",
             "ferry inbox purge app.db old-name --everything"});
    command->add_option("consumer", purge_options->consumer, "Whose")->required();
    auto* age = add_duration(*command, "--older-than", purge_options->older_than,
                             "Ids that are no outbox's, seen longer ago");
    auto* all = command->add_flag("--everything", purge_options->everything,
                                  "The consumer itself: what it applied would be applied again");
    all->excludes(age);
    command->callback([&context, purge_options] {
        context.run = [&context, purge_options] {
            if (!purge_options->everything && purge_options->older_than.empty()) {
                return fail(exit_usage, "say what to forget: --older-than or --everything");
            }
            return purge(context, *purge_options);
        };
    });

    auto accept_options = std::make_shared<Options>();
    add(inbox, context, "accept", "Let a consumer go on with a broker whose data is another",
        accept_options, [](const Context&, const Options& chosen) { return accept(chosen); },
        {"ferry inbox accept app.db billing"})
        ->add_option("consumer", accept_options->consumer, "Which")
        ->required();
}

}  // namespace

void add_inbox(Command& app, Context& context) {
    Command* inbox =
        app.add_subcommand("inbox", "Look after the inbox in a consumer's SQLite database");
    inbox->require_subcommand(1);
    inbox->footer(examples({"ferry inbox init app.db", "ferry inbox status app.db",
                            "ferry inbox verify app.db --json"}));
    auto options = std::make_shared<Options>();
    add(*inbox, context, "init", "Make the tables; makes the database if there is none", options,
        [](const Context&, const Options& chosen) { return init(chosen); },
        {"ferry inbox init app.db"});
    add(*inbox, context, "status", "All consumers with what they keep", options, status,
        {"ferry inbox status app.db", "ferry inbox status app.db --json"});
    Command* all = add(*inbox, context, "list", "Producers with their cursors", options, list,
                       {"ferry inbox list app.db", "ferry inbox list app.db billing --json"});
    all->add_option("consumer", options->consumer, "Only of this one");
    all->add_option("--count", options->count, "At most so many")->capture_default_str();
    Command* one = add(*inbox, context, "show", "Was this message applied?", options, show,
                       {"ferry inbox show app.db 4f2a90c1d5e84b7f8a3b1c2d3e4f5a6b:1:42"});
    one->add_option("id", options->id, "The message's id")->required();
    one->add_option("consumer", options->consumer, "Only by this one");
    add_changing(*inbox, context);
    add(*inbox, context, "verify", "Check the tables against each other, and the file", options,
        verify, {"ferry inbox verify app.db"});
}

}  // namespace ferry::cli
