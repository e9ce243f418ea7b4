#pragma once

#include "command.hpp"
#include "context.hpp"

namespace ferry::cli {

/// `ferry prepared init` and `answer`, which work on the producer's database.
void add_prepared_answer(Command& prepared, Context& context);

}  // namespace ferry::cli
