#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "chaos/handler.hpp"
#include "chaos/run.hpp"
#include "commands/commands.hpp"
#include "ferry/history/history_file.hpp"
#include "ferry/platform/random.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

namespace fs = std::filesystem;
using chaos::Mistake;
using chaos::Outcome;
using chaos::Plan;

struct Options {
    Plan plan;
    std::string span;
    std::string kill = "broker,relay,consumer";
    std::string lease = "3s";
    std::string patience = "60s";
    std::string mistake = "none";
    std::string seed;
};

Mistake mistake_of(const std::string& name) {
    return name == "ack-first"  ? Mistake::ack_first
           : name == "no-inbox" ? Mistake::no_inbox
                                : Mistake::none;
}

fs::path own_path() {
    std::error_code failed;
    return fs::read_symlink("/proc/self/exe", failed);
}

/// "broker,consumer": which of the three. Empty text: it is right.
std::string read_kill_list(const std::string& list, Plan& plan) {
    plan.kill_broker = plan.kill_relay = plan.kill_consumer = false;
    std::string rest = list + ",";
    while (!rest.empty()) {
        const std::string name = rest.substr(0, rest.find(','));
        rest.erase(0, name.size() + 1);
        if (name == "broker") {
            plan.kill_broker = true;
        } else if (name == "relay") {
            plan.kill_relay = true;
        } else if (name == "consumer") {
            plan.kill_consumer = true;
        } else {
            return "--kill takes broker, relay and consumer, with commas; not '" + name + "'";
        }
    }
    return {};
}

/// What is wrong with the options together; empty: nothing.
std::string complete(Options& options) {
    Plan& plan = options.plan;
    if (std::string wrong = read_kill_list(options.kill, plan); !wrong.empty()) return wrong;
    if (!plan.handler.empty() && plan.check.empty()) {
        return "--check is missing: a handler of your own needs a command that lists its effects, "
               "the id of each on a line";
    }
    if (!plan.handler.empty() && options.mistake != "none") {
        return "--mistake is for the built-in handler";
    }
    if (plan.handler.empty() && plan.payload != "{id}") {
        return "--payload is for a handler of your own: the built-in one takes ids";
    }
    if (plan.payload.find("{id}") == std::string::npos ||
        plan.payload.size() > chaos::payload_bytes_max) {
        return "--payload must have {id} in it and at most 64 KiB: the check lists ids";
    }
    plan.span = options.span.empty() ? std::chrono::milliseconds(0) : *parse_duration(options.span);
    if (plan.cycles == 0 && plan.span.count() == 0) plan.cycles = chaos::cycles_default;
    plan.lease = *parse_duration(options.lease);
    plan.patience = *parse_duration(options.patience);
    plan.mistake = mistake_of(options.mistake);
    if (plan.lease < std::chrono::seconds(1)) return "--lease is at least 1s";
    plan.program = own_path().string();
    if (plan.ferryd.empty()) plan.ferryd = (own_path().parent_path() / "ferryd").string();
    if (options.seed.empty()) {
        plan.seed = system_random().next() >> 32;
    } else if (options.seed.find_first_not_of("0123456789") != std::string::npos ||
               options.seed.size() > 18) {
        return "--seed is a whole number";
    } else {
        plan.seed = std::stoull(options.seed);
    }
    return {};
}

/// A directory for the run, made if none is named. Empty: it was told why not.
std::string own_directory(const Plan& plan) {
    if (!plan.directory.empty()) return fs::absolute(plan.directory).string();
    std::string name = (fs::temp_directory_path() / "ferry-chaos-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
        fail(exit_refused, "cannot make a directory in " + fs::temp_directory_path().string() +
                               "; name one with --data");
        return {};
    }
    return name;
}

/// Writes what the run saw, for looking at it later.
void keep_history(const Outcome& outcome, const std::string& directory) {
    std::ofstream history(directory + "/history.jsonl");
    for (const history::Event& event : outcome.history) history << history::line_of(event);
    std::ofstream report(directory + "/report.txt");
    report << history::text_of(outcome.report, outcome.history);
}

Json outcome_json(const Plan& plan, const Outcome& outcome) {
    Json programs = Json::object();
    for (const chaos::Tally& tally : outcome.programs) {
        programs[tally.name] = {{"kills", tally.kills},
                                {"pauses", tally.pauses},
                                {"ended_by_itself", tally.ended_by_itself}};
    }
    Json violations = Json::array();
    for (const history::Finding& finding : outcome.report.findings) {
        violations.push_back({{"name", history::name_of(finding.what)},
                              {"count", finding.count},
                              {"meaning", history::meaning_of(finding.what)},
                              {"first", finding.first},
                              {"ids", finding.ids}});
    }
    return {{"clean", outcome.report.clean()},    {"seed", plan.seed},
            {"cycles", outcome.cycles},           {"seconds", outcome.seconds},
            {"committed", outcome.committed},     {"rolled_back", outcome.rolled_back},
            {"effects", outcome.report.effects},  {"programs", programs},
            {"not_drained", outcome.not_drained}, {"violations", violations}};
}

void print_outcome(const Outcome& outcome) {
    std::uint64_t kills = 0;
    std::uint64_t pauses = 0;
    std::string who;
    for (const chaos::Tally& tally : outcome.programs) {
        kills += tally.kills;
        pauses += tally.pauses;
        who += (who.empty() ? "" : ", ") + tally.name + " " + with_commas(tally.kills);
        if (tally.ended_by_itself != 0) {
            who += " (ended by itself " + with_commas(tally.ended_by_itself) + ")";
        }
    }
    std::printf("%s cycles, %s kills, %s pauses (%s)\n", with_commas(outcome.cycles).c_str(),
                with_commas(kills).c_str(), with_commas(pauses).c_str(), who.c_str());
    std::printf("%s transactions committed, %s rolled back, %s effects\n",
                with_commas(outcome.committed).c_str(), with_commas(outcome.rolled_back).c_str(),
                with_commas(outcome.report.effects).c_str());
    if (outcome.report.clean()) {
        std::printf("clean: each committed message had its effect%s\n",
                    outcome.report.effects == outcome.committed ? ", once" : "");
        return;
    }
    for (const history::Finding& finding : outcome.report.findings) {
        std::printf("%s: %s (%s)\n  %s\n", std::string(history::name_of(finding.what)).c_str(),
                    with_commas(finding.count).c_str(),
                    std::string(history::meaning_of(finding.what)).c_str(), finding.first.c_str());
        if (finding.ids.empty() || finding.ids.front() == 0) continue;
        std::string ids;
        for (const std::uint64_t id : finding.ids) ids += " " + std::to_string(id);
        std::printf("  ids:%s%s\n", ids.c_str(), finding.count > finding.ids.size() ? " …" : "");
    }
    if (!outcome.not_drained.empty()) std::printf("  %s\n", outcome.not_drained.c_str());
}

int run_chaos(const Context& context, Options options) {
    if (const std::string wrong = complete(options); !wrong.empty()) return fail(exit_usage, wrong);
    Plan& plan = options.plan;
    if (!fs::exists(plan.ferryd)) {
        return fail(exit_usage, "there is no " + plan.ferryd + "; say where it is with --ferryd");
    }
    const bool temporary = plan.directory.empty();
    plan.directory = own_directory(plan);
    if (plan.directory.empty()) return exit_refused;
    std::fprintf(stderr, "ferry chaos: in %s; --seed %s makes the same choices again\n",
                 plan.directory.c_str(), std::to_string(plan.seed).c_str());
    const auto outcome = chaos::run(plan);
    if (!outcome.ok()) {
        std::fprintf(stderr, "ferry chaos: what the programs said is in %s\n",
                     plan.directory.c_str());
        return fail(exit_unreachable, outcome.error());
    }
    keep_history(outcome.value(), plan.directory);
    if (context.json) {
        print_json(outcome_json(plan, outcome.value()));
    } else {
        print_outcome(outcome.value());
    }
    if (outcome.value().report.clean() && temporary) {
        std::error_code ignored;
        fs::remove_all(plan.directory, ignored);
    } else {
        std::fprintf(stderr,
                     "ferry chaos: history.jsonl, report.txt, databases and logs are in %s\n",
                     plan.directory.c_str());
    }
    return outcome.value().report.clean() ? exit_done : exit_refused;
}

void add_run_options(Command& run, Options& options) {
    Plan& plan = options.plan;
    run.add_option("handler", plan.handler,
                   "Your handler and its arguments, behind --; default: a built-in one with an "
                   "inbox")
        ->type_name("COMMAND");
    run.add_option("--check", plan.check,
                   "Shell command that lists the effects of your handler: the id of each on a line")
        ->type_name("COMMAND");
    auto* cycles = run.add_option("--cycles", plan.cycles, "So many rounds of kills (default 20)")
                       ->range(1, chaos::cycles_max);
    add_long_duration(run, "--for", options.span, "Kill for so long")->excludes(cycles);
    run.add_option("--kill", options.kill, "Who is killed")
        ->type_name("broker,relay,consumer")
        ->capture_default_str();
    run.add_flag("--pause", plan.pause, "Also stop programs for longer than a lease");
    run.add_flag("--at-least-once", plan.at_least_once,
                 "Your handler has no inbox: more than one effect of a message is all right");
    run.add_option("--payload", plan.payload, "Body of the messages; {id} and {key} are filled in")
        ->capture_default_str();
    run.add_option("--queue", plan.queue, "Name of the queue")->capture_default_str();
    run.add_option("--consumers", plan.consumers, "So many handlers at a time")
        ->range(1, chaos::consumers_max)
        ->capture_default_str();
    run.add_option("--rate", plan.rate, "Transactions a second")
        ->range(1, chaos::rate_max)
        ->capture_default_str();
    run.add_option("--keys", plan.keys, "Different ordering keys")
        ->range(1, chaos::keys_max)
        ->capture_default_str();
    add_duration(run, "--lease", options.lease, "The queue's lease")->capture_default_str();
    add_duration(run, "--patience", options.patience, "How long everything may take to arrive")
        ->capture_default_str();
    run.add_option("--seed", options.seed, "Make the choices of the run with this seed");
    run.add_option("--data", plan.directory,
                   "Keep everything in this directory; default: a temporary one")
        ->type_name("DIR");
    run.add_option("--ferryd", plan.ferryd, "The broker; default: the one beside this program")
        ->type_name("FILE");
    run.add_option("--mistake", options.mistake,
                   "Let the built-in handler make one, to see it found")
        ->one_of({"none", "ack-first", "no-inbox"})
        ->capture_default_str();
}

void add_run(Command& above, Context& context) {
    Command* run = above.add_subcommand(
        "run", "Kill a broker, its relay and your handlers at random, and check every effect");
    auto options = std::make_shared<Options>();
    add_run_options(*run, *options);
    run->footer(
        examples(
            {"ferry chaos run", "ferry chaos run --for 10m --pause",
             "ferry chaos run --mistake no-inbox",
             "ferry chaos run --check 'sqlite3 bills.db \"SELECT id FROM bill\"' -- ./billing --db "
             "bills.db",
             "ferry chaos run --at-least-once --check 'cat $FERRY_CHAOS_DIR/seen' -- "
             "./handler.sh"}) +
        "\n\nHandlers find FERRY_URL, FERRY_QUEUE, FERRY_CHAOS_DIR and FERRY_CHAOS_WORKER "
        "in their environment.\nExit status: 0 clean, 1 violations, 2 wrong usage, 3 it "
        "could not be run.");
    run->callback([&context, options] {
        context.connects = false;
        context.run = [&context, options] { return run_chaos(context, *options); };
    });
}

struct HandlerOptions {
    std::string database;
    std::string queue = "chaos";
    std::string mistake = "none";
    std::string lease = "3s";
};

void add_handler(Command& above, Context& context) {
    Command* handler = above.add_subcommand(
        "handler", "What run starts if no handler is named: an effect per message, with an inbox");
    auto options = std::make_shared<HandlerOptions>();
    handler->add_option("database", options->database, "SQLite file for the effects")
        ->required()
        ->type_name("DB");
    handler->add_option("--queue", options->queue, "The queue")
        ->envname("FERRY_QUEUE")
        ->capture_default_str();
    add_duration(*handler, "--lease", options->lease, "Lease of a message")->capture_default_str();
    handler->add_option("--mistake", options->mistake, "Do it wrong, on purpose")
        ->one_of({"none", "ack-first", "no-inbox"})
        ->capture_default_str();
    handler->footer(examples({"ferry chaos handler effects.db --queue orders"}));
    handler->callback([&context, options] {
        context.run = [&context, options] {
            return chaos::handle(context, options->queue, options->database,
                                 *parse_duration(options->lease), mistake_of(options->mistake));
        };
    });
}

}  // namespace

void add_chaos(Command& app, Context& context) {
    Command* command = app.add_subcommand(
        "chaos", "See whether your handlers keep their promises while everything is killed");
    command->require_subcommand(1);
    command->footer(examples({"ferry chaos run", "ferry chaos run --mistake ack-first"}));
    add_run(*command, context);
    add_handler(*command, context);
}

}  // namespace ferry::cli
