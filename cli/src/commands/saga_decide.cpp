#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "commands/saga.hpp"
#include "ferry/saga/admin.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string database;
    std::string definition;
    std::string id;
    std::string input = "{}";
    std::string traceparent;
    std::string signal;
    std::string payload = "{}";
    std::string result;
    std::string end;
    std::string note;
    std::string who;
};

std::string person(const Options& options) {
    if (!options.who.empty()) return options.who;
    const char* const user = std::getenv("USER");
    return user != nullptr ? user : "uid " + std::to_string(::getuid());
}

using Change = std::function<sqlite::Status(saga::Admin& admin)>;

int change(const Context& context, const Options& options, const char* what, const Change& change) {
    auto admin = saga::Admin::open(options.database, false);
    if (!admin.ok()) return fail(exit_refused, admin.error().text);
    if (auto done = change(*admin.value()); !done.ok()) {
        return fail(exit_refused, done.error().text);
    }
    if (context.json) {
        print_json({{"id", options.id}, {"done", what}});
    } else {
        std::fprintf(stderr, "%s: %s\n", options.id.c_str(), what);
    }
    return exit_done;
}

int start(const Context& context, const Options& options) {
    auto admin = saga::Admin::open(options.database, false);
    if (!admin.ok()) return fail(exit_refused, admin.error().text);
    const auto created =
        admin.value()->start(options.definition, options.id, options.input, options.traceparent);
    if (!created.ok()) return fail(exit_refused, created.error().text);
    if (context.json) {
        print_json({{"id", options.id}, {"created", created.value()}});
    } else {
        std::fprintf(stderr, "%s: %s\n", options.id.c_str(),
                     created.value() ? "started" : "was started before, with the same input");
    }
    return exit_done;
}

}  // namespace

void add_saga_decide(Command& saga, Context& context) {
    auto options = std::make_shared<Options>();
    const auto add = [&](const char* name, const char* what, std::function<int()> run,
                         std::initializer_list<const char*> lines) {
        Command* command = add_saga_command(saga, context, name, what, std::move(run), lines);
        command->add_option("database", options->database, "The orchestrator's SQLite file")
            ->required();
        return command;
    };
    Command* starting =
        add("start", "Start a saga; the same id again is no error and nothing happens",
            [&context, options] { return start(context, *options); },
            {"ferry saga start saga.db order --id order-17 --input '{\"item\": \"book\"}'"});
    starting->add_option("definition", options->definition, "Its name; the newest version")
        ->required();
    starting->add_option("--id", options->id, "The saga's id")->required();
    starting->add_option("--input", options->input, "JSON")->capture_default_str();
    starting->add_option("--traceparent", options->traceparent, "W3C trace context to go on with");

    const auto decide = [&](const char* name, const char* what, const char* done, Change change_it,
                            std::initializer_list<const char*> lines) {
        Command* command = add(
            name, what,
            [&context, options, done, change_it = std::move(change_it)] {
                return change(context, *options, done, change_it);
            },
            lines);
        command->add_option("id", options->id, "The saga")->required();
        command->add_option("--who", options->who, "For the audit trail; default: $USER");
        return command;
    };
    const auto note = [&](Command* command) {
        command->add_option("--note", options->note, "Why, for the audit trail");
        return command;
    };
    Command* signalling = decide(
        "signal", "Tell a saga what it waits for", "signalled",
        [options](saga::Admin& admin) {
            return admin.signal(options->id, options->signal, options->payload, person(*options));
        },
        {"ferry saga signal saga.db order-17 approve --payload '{\"by\": \"ada\"}'"});
    signalling->add_option("name", options->signal, "The signal: the step's name")->required();
    signalling->add_option("--payload", options->payload, "JSON")->capture_default_str();
    note(decide("cancel", "Undo a saga that is not behind its pivot", "is undone",
                [options](saga::Admin& admin) {
                    return admin.cancel(options->id, person(*options), options->note);
                },
                {"ferry saga cancel saga.db order-17 --note 'customer called'"}));
    note(decide("retry", "Let a parked saga try again", "tries again",
                [options](saga::Admin& admin) {
                    return admin.retry(options->id, person(*options), options->note);
                },
                {"ferry saga retry saga.db order-17 --note 'refunds work again'"}));
    note(decide(
             "skip", "Count a parked saga's stuck step as done, or as undone", "goes on without it",
             [options](saga::Admin& admin) {
                 return admin.skip(options->id, options->result, person(*options), options->note);
             },
             {"ferry saga skip saga.db order-17 --note 'refunded by hand'"}))
        ->add_option("--result", options->result, "JSON, as the step's result");
    note(decide("force", "End a parked saga; nothing more is sent", "was ended",
                [options](saga::Admin& admin) {
                    return admin.force(options->id, *saga::saga_state_of(options->end),
                                       person(*options), options->note);
                },
                {"ferry saga force saga.db order-17 --as compensated --note 'settled by post'"}))
        ->add_option("--as", options->end, "completed or compensated")
        ->one_of({"completed", "compensated"})
        ->required();
}

}  // namespace ferry::cli
