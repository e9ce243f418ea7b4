#pragma once

#include <memory>

#include "command.hpp"
#include "context.hpp"

namespace ferry::cli {

/// The whole command table. Parsing sets context.run. `context` outlives the app.
[[nodiscard]] std::unique_ptr<Command> make_app(Context& context);

/// Parses and runs; the process's exit status.
int run_app(int argc, const char* const* argv);

}  // namespace ferry::cli
