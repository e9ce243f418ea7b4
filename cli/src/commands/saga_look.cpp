#include <cstdio>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "command.hpp"
#include "commands/saga.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/saga/admin.hpp"
#include "ferry/saga/orchestrator.hpp"
#include "ferry/saga/participant.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string database;
    std::string id;
    std::string state;
    saga::ListFilter filter;
};

int fail_with(const sqlite::Problem& problem) {
    return fail(exit_refused, problem.text);
}

/// What comes from the database must not steer the terminal.
std::string printable(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    return out;
}

std::string span(std::uint64_t ms) {
    if (ms < 1000) return std::to_string(ms) + " ms";
    if (ms < 120'000) {
        return std::to_string(ms / 1000) + "." + std::to_string(ms % 1000 / 100) + " s";
    }
    if (ms < 7'200'000) return std::to_string(ms / 60'000) + " min";
    return std::to_string(ms / 3'600'000) + " h";
}

Json json_or_null(const std::string& text) {
    if (text.empty()) return nullptr;
    Json value = Json::parse(text, nullptr, false);
    return value.is_discarded() ? Json(text) : value;
}

Json moment(std::uint64_t ms) {
    return ms == 0 ? Json(nullptr) : Json(ms);
}

Json row_json(const saga::SagaRow& row) {
    return {{"id", row.id},
            {"definition", row.definition},
            {"version", row.version},
            {"state", saga::name_of(row.state)},
            {"reason", row.reason},
            {"waits_for", row.waits_for},
            {"started_ms", row.started_ms},
            {"changed_ms", row.changed_ms},
            {"ended_ms", moment(row.ended_ms)},
            {"deadline_ms", moment(row.deadline_ms)},
            {"due_ms", moment(row.due_ms)},
            {"revision", row.revision},
            {"overdue", row.overdue},
            {"forced", row.forced},
            {"parent", row.parent.empty() ? Json(nullptr) : Json(row.parent)}};
}

int init(const Options& options) {
    if (auto made = saga::Orchestrator::init(options.database); !made.ok()) {
        return fail_with(made.error());
    }
    std::fprintf(stderr, "%s can run sagas\n", printable(options.database).c_str());
    return exit_done;
}

int list(const Context& context, const Options& options) {
    saga::ListFilter filter = options.filter;
    if (!options.state.empty()) filter.state = saga::saga_state_of(options.state);
    auto admin = saga::Admin::open(options.database, true);
    if (!admin.ok()) return fail_with(admin.error());
    const auto rows = admin.value()->list(filter);
    if (!rows.ok()) return fail_with(rows.error());
    const std::uint64_t now = system_clock().now().wall_ms;
    std::vector<std::vector<std::string>> table{
        {"id", "definition", "state", ">age", "waits for, or why it was undone"}};
    for (const saga::SagaRow& row : rows.value()) {
        if (context.json) {
            print_json(row_json(row));
            continue;
        }
        const std::uint64_t until = row.ended_ms != 0 ? row.ended_ms : now;
        const bool why = row.state == saga::SagaState::parked || row.ended_ms != 0;
        table.push_back({printable(row.id), row.definition + "/" + std::to_string(row.version),
                         std::string(saga::name_of(row.state)) + (row.forced ? " (forced)" : ""),
                         span(until > row.started_ms ? until - row.started_ms : 0),
                         printable(why ? row.reason : row.waits_for)});
    }
    if (!context.json) print_table(table);
    return exit_done;
}

int definitions(const Context& context, const Options& options) {
    auto admin = saga::Admin::open(options.database, true);
    if (!admin.ok()) return fail_with(admin.error());
    const auto rows = admin.value()->definitions();
    if (!rows.ok()) return fail_with(rows.error());
    std::vector<std::vector<std::string>> table{{"name", ">version", "hash", ">open sagas"}};
    for (const saga::DefinitionRow& row : rows.value()) {
        if (context.json) {
            print_json({{"name", row.name},
                        {"version", row.version},
                        {"hash", row.hash},
                        {"open", row.open},
                        {"added_ms", row.added_ms}});
        } else {
            table.push_back(
                {row.name, std::to_string(row.version), row.hash, with_commas(row.open)});
        }
    }
    if (!context.json) print_table(table);
    return exit_done;
}

int doubts(const Context& context, const Options& options) {
    const auto rows = saga::doubts(options.database, options.filter.at_most);
    if (!rows.ok()) return fail_with(rows.error());
    const std::uint64_t now = system_clock().now().wall_ms;
    std::vector<std::vector<std::string>> table{{"saga", "step", ">held for", "what the try said"}};
    for (const saga::Doubt& row : rows.value()) {
        if (context.json) {
            print_json({{"saga", row.saga},
                        {"step", row.step},
                        {"token", row.token},
                        {"result", json_or_null(row.result)},
                        {"since_ms", row.since_ms}});
            continue;
        }
        table.push_back({printable(row.saga), printable(row.step),
                         span(now > row.since_ms ? now - row.since_ms : 0),
                         printable(sqlite::bounded(row.result, 60))});
    }
    if (!context.json) print_table(table);
    return exit_done;
}

Json view_json(const saga::SagaView& view) {
    Json out = row_json(view.row);
    out["hash"] = view.hash;
    out["trace"] = view.trace;
    out["input"] = json_or_null(view.input);
    out["result"] = json_or_null(view.result);
    out["steps"] = Json::array();
    for (const saga::StepView& step : view.steps) {
        out["steps"].push_back(
            {{"name", step.name},
             {"state", saga::name_of(step.state)},
             {"sends_to", step.sends_to},
             {"undo_to", step.undo_to.empty() ? Json(nullptr) : Json(step.undo_to)},
             {"messages", step.attempts},
             {"uncertain", step.uncertain},
             {"began_ms", moment(step.began_ms)},
             {"ended_ms", moment(step.ended_ms)},
             {"due_ms", moment(step.due_ms)},
             {"result", json_or_null(step.result)},
             {"error", step.error}});
    }
    out["signals"] = Json::object();
    for (const auto& [name, payload] : view.signals) out["signals"][name] = json_or_null(payload);
    out["audit"] = Json::array();
    for (const saga::AuditRow& line : view.audit) {
        out["audit"].push_back(
            {{"at_ms", line.at_ms}, {"who", line.who}, {"what", line.what}, {"note", line.note}});
    }
    return out;
}

void print_view(const saga::SagaView& view) {
    const saga::SagaRow& row = view.row;
    const auto line = [](const char* name, const std::string& value) {
        if (!value.empty()) std::printf("%-11s %s\n", name, printable(value).c_str());
    };
    line("saga", row.id);
    line("definition",
         row.definition + " version " + std::to_string(row.version) + ", hash " + view.hash);
    line("state", std::string(saga::name_of(row.state)) + (row.forced ? ", forced" : "") +
                      (row.overdue ? ", overdue" : ""));
    line("reason", row.reason);
    line("waits for", row.waits_for);
    line("parent", row.parent);
    line("input", view.input);
    line("result", view.result);
    line("trace", view.trace);
    std::vector<std::vector<std::string>> table{
        {"step", "state", ">begins", ">takes", ">messages", "to", "last said"}};
    for (const saga::StepView& step : view.steps) {
        const bool begun = step.began_ms != 0;
        table.push_back(
            {step.name, std::string(saga::name_of(step.state)) + (step.uncertain ? " ?" : ""),
             begun ? "+" + span(step.began_ms - row.started_ms) : "",
             begun && step.ended_ms >= step.began_ms ? span(step.ended_ms - step.began_ms) : "",
             step.attempts == 0 ? "" : std::to_string(step.attempts), step.sends_to,
             printable(step.error.empty() ? step.result : step.error)});
    }
    std::printf("\n");
    print_table(table);
    for (const saga::AuditRow& entry : view.audit) {
        std::printf("+%s  %s: %s%s%s\n",
                    span(entry.at_ms > row.started_ms ? entry.at_ms - row.started_ms : 0).c_str(),
                    printable(entry.who).c_str(), printable(entry.what).c_str(),
                    entry.note.empty() ? "" : ": ", printable(entry.note).c_str());
    }
}

int show(const Context& context, const Options& options) {
    auto admin = saga::Admin::open(options.database, true);
    if (!admin.ok()) return fail_with(admin.error());
    const auto view = admin.value()->show(options.id);
    if (!view.ok()) return fail_with(view.error());
    if (context.json) {
        print_json(view_json(view.value()));
    } else {
        print_view(view.value());
    }
    return exit_done;
}

}  // namespace

void add_saga_look(Command& saga, Context& context) {
    auto options = std::make_shared<Options>();
    const auto add = [&](const char* name, const char* what, std::function<int()> run,
                         std::initializer_list<const char*> lines) {
        Command* command = add_saga_command(saga, context, name, what, std::move(run), lines);
        command->add_option("database", options->database, "The orchestrator's SQLite file")
            ->required();
        return command;
    };
    add("init", "Make the tables; makes the database if there is none",
        [options] { return init(*options); }, {"ferry saga init saga.db"});
    Command* all = add("list", "Sagas, in order of their ids",
                       [&context, options] { return list(context, *options); },
                       {"ferry saga list saga.db --open", "ferry saga list saga.db --state parked",
                        "ferry saga list saga.db --in-doubt --json"});
    all->add_option("--state", options->state, "Only in this state")
        ->one_of({"running", "aborting", "compensating", "parked", "completed", "compensated"});
    all->add_flag("--open", options->filter.open, "Only those that have not ended");
    all->add_flag("--in-doubt", options->filter.in_doubt,
                  "Only those with a step of which nobody knows whether it happened, or decided "
                  "and not yet carried out");
    all->add_option("--definition", options->filter.definition, "Only of this definition");
    all->add_option("--after", options->filter.after_id, "Only behind this id");
    all->add_option("--count", options->filter.at_most, "At most so many")->capture_default_str();
    add("definitions", "Definitions that are stored",
        [&context, options] { return definitions(context, *options); },
        {"ferry saga definitions saga.db"});
    Command* held =
        add_saga_command(saga, context, "doubts",
                         "What a participant has reserved, and nobody has confirmed or cancelled",
                         [&context, options] { return doubts(context, *options); },
                         {"ferry saga doubts stock.db", "ferry saga doubts stock.db --json"});
    held->add_option("database", options->database, "The participant's SQLite file")->required();
    held->add_option("--count", options->filter.at_most, "At most so many")->capture_default_str();
    add("show", "All of one saga: steps, attempts, durations, decisions",
        [&context, options] { return show(context, *options); },
        {"ferry saga show saga.db order-17"})
        ->add_option("id", options->id, "The saga")
        ->required();
}

}  // namespace ferry::cli
