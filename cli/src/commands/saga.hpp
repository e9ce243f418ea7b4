#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "command.hpp"
#include "context.hpp"
#include "ferry/saga/definition_file.hpp"

namespace ferry::cli {

/// A definition, or all *.toml of a directory: each by itself, and all of them together. Nothing
/// where a file cannot be read, which was told; else with what is wrong.
struct ReadDefinitions {
    std::vector<saga::Definition> definitions;
    std::vector<saga::FileComplaint> complaints;
};
std::optional<ReadDefinitions> read_saga_definitions(const std::string& path);

/// The parts of `ferry saga`, each in a file of its own.
void add_saga_definitions(Command& saga, Context& context);  // check, graph
void add_saga_serve(Command& saga, Context& context);
void add_saga_look(Command& saga, Context& context);    // init, list, show
void add_saga_decide(Command& saga, Context& context);  // start, signal, cancel, retry ...
void add_saga_demo(Command& saga, Context& context);

/// Adds a subcommand; `run` is what it does.
Command* add_saga_command(Command& saga, Context& context, const char* name, const char* what,
                          std::function<int()> run, std::initializer_list<const char*> lines);

}  // namespace ferry::cli
