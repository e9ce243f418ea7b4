#pragma once

#include <CLI/App.hpp>

#include "context.hpp"

namespace ferry::cli {

/// Adds "bind" and "unbind" for destinations of `kind` ("queue" or "exchange").
void add_binding_commands(CLI::App& parent, Context& context, const char* kind);

}  // namespace ferry::cli
