// `ferry prepared init` and `ferry prepared answer`: the row that decides, and who looks at it.

#include <chrono>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "commands/prepared.hpp"
#include "ferry/consumer/check_back.hpp"
#include "ferry/outbox/decision.hpp"
#include "options.hpp"
#include "output.hpp"
#include "reach.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string database;
    std::string queue;
    std::string dead;
    std::string retain = "168h";
    std::string drain = "10s";
    bool declare = true;
    bool once = false;
};

void say(std::string_view line) {
    std::fprintf(stderr, "ferry prepared: %.*s\n", static_cast<int>(line.size()), line.data());
}

int init(const Options& options) {
    auto database = sqlite::Database::open(options.database, sqlite::Database::Access::create);
    if (!database.ok()) return fail(exit_refused, database.error().text);
    if (auto made = outbox::init_decisions(database.value()); !made.ok())
        return fail(exit_refused, made.error().text);
    std::fprintf(stderr, "%s has a table ferry_decision\n", options.database.c_str());
    return exit_done;
}

void report(const Context& context, const consumer::CheckBackFigures& f) {
    if (context.json) {
        print_json({{"submitted", f.submitted},
                    {"dropped", f.dropped},
                    {"again", f.again},
                    {"gone", f.gone},
                    {"conflicts", f.conflicts},
                    {"forgotten", f.forgotten}});
    }
    std::fprintf(stderr, "ferry prepared: %s submitted, %s dropped, %s decided otherwise before\n",
                 with_commas(f.submitted).c_str(), with_commas(f.dropped).c_str(),
                 with_commas(f.conflicts).c_str());
}

/// Every check has its answer, and none is due that waited for somebody to take it.
bool nothing_left(transport::Client& client, const std::string& queue) {
    std::string after;
    for (bool more = true; more;) {
        const auto page = client.list_prepared(after);
        if (!page.ok()) return false;
        for (const transport::PreparedInfo& p : page.value().prepared) {
            if (p.check_queue == queue && !p.unasked.empty()) return false;
        }
        more = page.value().more && !page.value().prepared.empty();
        if (more) after = page.value().prepared.back().id;
    }
    // Behind the list: what was put there meanwhile is seen here.
    const auto shown = client.show_queue(queue);
    return shown.ok() && shown.value().ready == 0 && shown.value().unacked == 0;
}

int answer(const Context& context, const Options& options) {
    catch_interrupts();
    std::set<std::string> queues;
    if (options.declare) queues.insert(options.queue);
    if (options.declare && !options.dead.empty()) queues.insert(options.dead);
    const auto client = reach_and_declare(context, "ferry prepared answer", queues, say);
    if (!client) return interrupted() ? exit_done : exit_refused;
    consumer::CheckBackOptions wanted;
    wanted.database = options.database;
    wanted.queue = options.queue;
    wanted.dead_letter_queue = options.dead;
    wanted.retain = *parse_duration(options.retain);
    wanted.on_event = say;
    auto started = consumer::CheckBack::start(*client, std::move(wanted));
    if (!started.ok()) {
        const bool ours = started.error().wire_code == wire::Code::ok &&
                          started.error().code == Errc::rejected;  // the database, an option
        return ours ? fail(exit_refused, started.error().text) : fail(started.error());
    }
    consumer::CheckBack& running = *started.value();
    if (!options.once) {
        std::printf("decisions of %s answer for %s\n", options.database.c_str(),
                    options.queue.c_str());
        flush_out();
    }
    while (!interrupted() && !running.ended()) {
        if (options.once && nothing_left(*client, options.queue)) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    const bool lost = running.ended() && !interrupted();
    const std::string reason = running.health().reason;
    running.stop(*parse_duration(options.drain)).ignore("what was not answered is asked again");
    report(context, running.figures());
    return lost ? fail(exit_refused, reason) : exit_done;
}

}  // namespace

void add_prepared_answer(Command& prepared, Context& context) {
    auto options = std::make_shared<Options>();
    Command* making =
        prepared.add_subcommand("init", "Make the table ferry_decision in a producer's database");
    making->add_option("database", options->database, "The producer's SQLite file")
        ->required()
        ->type_name("DB");
    making->footer(examples({"ferry prepared init orders.db"}));
    making->callback([&context, options] { context.run = [options] { return init(*options); }; });

    Command* answering = prepared.add_subcommand(
        "answer", "Answer the broker's checks: the row in ferry_decision decides");
    answering->add_option("--db", options->database, "The producer's SQLite file")->required();
    answering->add_option("--queue", options->queue, "Queue in which the broker asks")->required();
    answering->add_option("--dead", options->dead, "Queue for messages that are no checks");
    answering->add_flag("--declare,!--no-declare", options->declare,
                        "Declare these queues (default)");
    add_long_duration(*answering, "--retain", options->retain,
                      "Keep decisions for so long, at least 1h; those of messages that are still "
                      "prepared stay");
    add_duration(*answering, "--drain", options->drain,
                 "On SIGTERM wait so long for what is under way");
    answering->add_flag("--once", options->once, "End when all that was due is answered");
    answering->footer(
        examples({"ferry prepared answer --db orders.db --queue order.checks",
                  "ferry prepared answer --db orders.db --queue order.checks --once --json"}));
    answering->callback([&context, options] {
        context.run = [&context, options] { return answer(context, *options); };
    });
}

}  // namespace ferry::cli
