#pragma once

#include <functional>
#include <memory>
#include <string>

#include <CLI/App.hpp>

#include "context.hpp"

namespace ferry::cli {

/// The parts of `ferry saga`, each in a file of its own.
void add_saga_definitions(CLI::App& saga, Context& context);  // check, graph
void add_saga_serve(CLI::App& saga, Context& context);
void add_saga_look(CLI::App& saga, Context& context);    // init, list, show
void add_saga_decide(CLI::App& saga, Context& context);  // start, signal, cancel, retry ...
void add_saga_demo(CLI::App& saga, Context& context);

/// Adds a subcommand; `run` is what it does.
CLI::App* add_saga_command(CLI::App& saga, Context& context, const char* name, const char* what,
                           std::function<int()> run, std::initializer_list<const char*> lines);

}  // namespace ferry::cli
