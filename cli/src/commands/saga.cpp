#include "commands/saga.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "ferry/saga/definition_file.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string file;
    std::string format = "text";
};

/// False: it was told why.
bool read_file(const std::string& path, ReadDefinitions& into) {
    std::ifstream file(path, std::ios::binary);
    std::string text(saga::limits::definition_file_bytes_max + 1, '\0');
    if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!file.is_open() || file.bad() || (file.fail() && !file.eof())) {
        fail(exit_refused, "cannot read " + path);
        return false;
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    saga::ReadDefinition read = saga::read_definition(text, path);
    for (saga::FileComplaint& one : read.complaints) into.complaints.push_back(std::move(one));
    if (read.definition) into.definitions.push_back(std::move(*read.definition));
    return true;
}

void print_complaints(const Context& context, const ReadDefinitions& read) {
    for (const saga::FileComplaint& one : read.complaints) {
        if (context.json) {
            print_json({{"file", one.file},
                        {"line", one.line},
                        {"field", one.field},
                        {"problem", one.what}});
        } else {
            std::fprintf(stderr, "ferry: %s\n", one.text().c_str());
        }
    }
}

int check(const Context& context, const Options& options) {
    const auto read = read_saga_definitions(options.file);
    if (!read) return exit_refused;
    print_complaints(context, *read);
    if (!read->complaints.empty()) return exit_refused;
    for (const saga::Definition& definition : read->definitions) {
        if (context.json) {
            print_json({{"ok", true},
                        {"name", definition.name},
                        {"version", definition.version},
                        {"steps", definition.steps.size()},
                        {"hash", saga::hash_of(definition)}});
        } else {
            std::printf("%s version %u: %zu steps, hash %s\n", definition.name.c_str(),
                        definition.version, definition.steps.size(),
                        saga::hash_of(definition).c_str());
        }
    }
    return exit_done;
}

/// Graphviz writes to our standard output.
int svg(const std::string& dot) {
    if (!flush_out()) return fail(exit_refused, "cannot write to stdout");
    std::FILE* const graphviz =
        ::popen("command -v dot >/dev/null 2>&1 || exit 9; exec dot -Tsvg", "w");
    if (graphviz == nullptr) return fail(exit_refused, "cannot start dot");
    // A program that is not there reads nothing.
    const auto before = std::signal(SIGPIPE, SIG_IGN);
    std::fwrite(dot.data(), 1, dot.size(), graphviz);
    const int status = ::pclose(graphviz);
    std::signal(SIGPIPE, before);
    if (status == 0) return exit_done;
    return fail(exit_refused,
                "there is no Graphviz here to make an SVG: install the package graphviz, or take "
                "--format text or dot");
}

int graph(const Context& context, const Options& options) {
    ReadDefinitions read;
    if (!read_file(options.file, read)) return exit_refused;
    print_complaints(context, read);
    if (read.definitions.empty()) return exit_refused;
    const saga::Definition& definition = read.definitions.front();
    if (options.format == "svg") return svg(saga::graph_dot(definition));
    const std::string text =
        options.format == "dot" ? saga::graph_dot(definition) : saga::graph_text(definition);
    return write_out(text) ? exit_done : fail(exit_refused, "cannot write to stdout");
}

}  // namespace

std::optional<ReadDefinitions> read_saga_definitions(const std::string& path) {
    namespace fs = std::filesystem;
    std::vector<std::string> files;
    std::error_code error;
    if (fs::is_directory(path, error)) {
        for (const auto& entry : fs::directory_iterator(path, error)) {
            if (entry.path().extension() == ".toml") files.push_back(entry.path().string());
        }
        std::sort(files.begin(), files.end());
    } else {
        files.push_back(path);
    }
    if (files.empty()) {
        fail(exit_refused, "there is no *.toml in " + path);
        return std::nullopt;
    }
    ReadDefinitions out;
    for (const std::string& file : files) {
        if (!read_file(file, out)) return std::nullopt;
    }
    for (saga::Complaint& one : saga::check_together(out.definitions)) {
        out.complaints.push_back({path, 0, std::move(one.where), std::move(one.what)});
    }
    return out;
}

Command* add_saga_command(Command& saga, Context& context, const char* name, const char* what,
                          std::function<int()> run, std::initializer_list<const char*> lines) {
    Command* command = saga.add_subcommand(name, what);
    command->footer(examples(lines));
    command->callback([&context, run = std::move(run)] { context.run = run; });
    return command;
}

void add_saga_definitions(Command& saga, Context& context) {
    auto options = std::make_shared<Options>();
    add_saga_command(saga, context, "check", "What is wrong with definitions",
                     [&context, options] { return check(context, *options); },
                     {"ferry saga check config/sagas", "ferry saga check order.toml --json"})
        ->add_option("file", options->file,
                     "The definition, in TOML; or a directory of *.toml, which are checked "
                     "together, too")
        ->required();
    Command* drawing = add_saga_command(
        saga, context, "graph", "Draw a definition",
        [&context, options] { return graph(context, *options); },
        {"ferry saga graph order.toml", "ferry saga graph order.toml --format svg > order.svg"});
    drawing->add_option("file", options->file, "The definition, in TOML")->required();
    drawing
        ->add_option("--format", options->format, "text, dot, or svg, which needs Graphviz's dot")
        ->one_of({"text", "dot", "svg"})
        ->capture_default_str();
}

void add_saga(Command& app, Context& context) {
    Command* saga = app.add_subcommand(
        "saga", "Run business operations over several services, and undo them when they fail");
    saga->require_subcommand(1);
    saga->footer(examples({"ferry saga init saga.db",
                           "ferry saga serve --db saga.db --definitions config/sagas",
                           "ferry saga start saga.db order --id order-17 --input '{}'",
                           "ferry saga list saga.db --state parked", "ferry saga demo"}));
    add_saga_definitions(*saga, context);
    add_saga_look(*saga, context);
    add_saga_serve(*saga, context);
    add_saga_decide(*saga, context);
    add_saga_demo(*saga, context);
}

}  // namespace ferry::cli
