#pragma once

#include "bench/bench.hpp"

namespace ferry::cli::bench {

/// run() for kafka://: produce, consume and e2e, on topics of its own.
transport::Answer<Outcome> run_on_kafka(const Context& context, const Settings& settings);

}  // namespace ferry::cli::bench
