// `ferry schedule`: messages that come again and again.

#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "definitions.hpp"
#include "new_message.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string name;
    transport::ScheduleOptions wanted;
    NewMessage message;
    std::uint32_t count = 5;
};

std::string time_text(std::uint64_t ms) {
    if (ms == 0) return "-";
    const auto seconds = static_cast<std::time_t>(ms / 1000);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

Json schedule_json(const transport::ScheduleInfo& s) {
    return {{"name", s.name},       {"cron", s.cron},     {"zone", s.zone},
            {"missed", s.missed},   {"paused", s.paused}, {"next_ms", s.next_ms},
            {"last_ms", s.last_ms}, {"fired", s.fired},   {"skipped", s.skipped},
            {"reached", s.reached}};
}

int add(const Context& context, const Options& options) {
    transport::ScheduleOptions wanted = options.wanted;
    if (const auto wrong = complete(options.message, wanted.message)) return *wrong;
    if (const std::string wrong = wire::check_message(wanted.message); !wrong.empty())
        return fail(exit_refused, wrong);
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto done = client.value()->set_schedule(options.name, wanted);
    if (!done.ok()) return fail(done.error());
    if (wanted.check) return exit_done;
    const auto shown = client.value()->show_schedule(options.name);
    if (!shown.ok()) return fail(shown.error());
    if (context.json) {
        print_json(schedule_json(shown.value()));
    } else {
        std::fprintf(stderr, "due next at %s\n", time_text(shown.value().next_ms).c_str());
    }
    return exit_done;
}

int list(const Context& context) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::vector<std::vector<std::string>> rows{
        {"name", "cron", "zone", "next", ">fired", ">skipped", "state"}};
    std::string after;
    for (bool more = true; more;) {
        const auto page = client.value()->list_schedules(after);
        if (!page.ok()) return fail(page.error());
        for (const transport::ScheduleInfo& s : page.value().schedules) {
            if (context.json) print_json(schedule_json(s));
            rows.push_back({s.name, s.cron, s.zone, time_text(s.next_ms), with_commas(s.fired),
                            with_commas(s.skipped), s.paused ? "paused" : "active"});
        }
        more = page.value().more && !page.value().schedules.empty();
        if (more) after = page.value().schedules.back().name;
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

int show(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto shown = client.value()->show_schedule(options.name);
    if (!shown.ok()) return fail(shown.error());
    const transport::ScheduleInfo& s = shown.value();
    Json json = schedule_json(s);
    json["message"] = to_json(Definitions::Schedule{
        s.name, {s.cron, s.zone, s.missed, s.paused, false, s.message}})["message"];
    if (context.json) {
        print_json(json);
        return exit_done;
    }
    for (const auto& [name, value] : json.items()) {
        const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
        std::printf("%-10s %s\n", name.c_str(), text.c_str());
    }
    return exit_done;
}

int next(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::string cron = options.wanted.cron;
    std::string zone = options.wanted.zone;
    if (cron.empty() == options.name.empty())
        return fail(exit_usage, "name a schedule, or give --cron");
    if (cron.empty()) {
        const auto shown = client.value()->show_schedule(options.name);
        if (!shown.ok()) return fail(shown.error());
        cron = shown.value().cron;
        zone = shown.value().zone;
    }
    const auto times = client.value()->next_times(cron, zone, 0, options.count);
    if (!times.ok()) return fail(times.error());
    for (const std::uint64_t time : times.value()) {
        if (context.json) {
            print_json({{"at_ms", time}, {"at", time_text(time)}});
        } else {
            std::printf("%s\n", time_text(time).c_str());
        }
    }
    return exit_done;
}

int remove(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto done = client.value()->delete_schedule(options.name);
    return done.ok() ? exit_done : fail(done.error());
}

int pause(const Context& context, const Options& options, bool paused) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto done = client.value()->pause_schedule(options.name, paused);
    return done.ok() ? exit_done : fail(done.error());
}

void add_add(Command& schedule, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command = schedule.add_subcommand("add", "Make a schedule, or replace it");
    transport::ScheduleOptions& wanted = options->wanted;
    command->add_option("name", options->name, "The schedule's name")->required();
    command->add_option("--cron", wanted.cron, "minute hour day month weekday, or @daily and such")
        ->required();
    command->add_option("--tz", wanted.zone, "Time zone, as Europe/Berlin")->capture_default_str();
    command->add_option("--missed", wanted.missed, "What becomes of times that were missed")
        ->one_of({"once", "skip"})
        ->capture_default_str();
    add_message_flags(*command, options->message, "");
    command->add_flag("--paused", wanted.paused, "Do not begin yet");
    command->add_flag("--check", wanted.check, "Only say whether it could be made");
    command->footer(examples(
        {"ferry schedule add reports --cron '0 6 * * MON-FRI' --tz Europe/Berlin --queue reports",
         "ferry schedule add tick --cron '*/5 * * * *' --exchange events --key tick "
         "--payload 'tick'"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return add(context, *options); };
    });
}

/// A command that takes a schedule's name and nothing else.
template <class Run>
void add_named(Command& schedule, Context& context, const char* name, const char* about, Run run) {
    auto options = std::make_shared<Options>();
    Command* command = schedule.add_subcommand(name, about);
    command->add_option("name", options->name, "The schedule's name")->required();
    const std::string example = std::string("ferry schedule ") + name + " reports";
    command->footer(examples({example.c_str()}));
    command->callback([&context, options, run] {
        context.run = [&context, options, run] { return run(context, *options); };
    });
}

}  // namespace

void add_schedule(Command& app, Context& context) {
    Command* schedule =
        app.add_subcommand("schedule", "Messages that are published again and again");
    schedule->require_subcommand(1);
    add_add(*schedule, context);
    Command* all = schedule->add_subcommand("list", "All schedules and when they are due");
    all->footer(examples({"ferry schedule list"}));
    all->callback([&context] { context.run = [&context] { return list(context); }; });
    add_named(*schedule, context, "show", "One schedule with its message", show);
    add_named(*schedule, context, "delete", "End a schedule", remove);
    add_named(*schedule, context, "pause", "Let times pass without a message",
              [](const Context& c, const Options& o) { return pause(c, o, true); });
    add_named(*schedule, context, "resume", "Go on from now",
              [](const Context& c, const Options& o) { return pause(c, o, false); });

    auto options = std::make_shared<Options>();
    Command* times = schedule->add_subcommand("next", "When it will be due");
    times->add_option("name", options->name, "A schedule; or --cron");
    times->add_option("--cron", options->wanted.cron, "A cron expression");
    times->add_option("--tz", options->wanted.zone, "Its time zone")->capture_default_str();
    times->add_option("--count", options->count, "How many times")->capture_default_str();
    times->footer(examples({"ferry schedule next reports",
                            "ferry schedule next --cron '30 2 * * *' --tz Europe/Berlin"}));
    times->callback([&context, options] {
        context.run = [&context, options] { return next(context, *options); };
    });
}

}  // namespace ferry::cli
