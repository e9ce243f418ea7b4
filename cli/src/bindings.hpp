#pragma once

#include "command.hpp"
#include "context.hpp"

namespace ferry::cli {

/// Adds "bind" and "unbind" for destinations of `kind` ("queue" or "exchange").
void add_binding_commands(Command& parent, Context& context, const char* kind);

}  // namespace ferry::cli
