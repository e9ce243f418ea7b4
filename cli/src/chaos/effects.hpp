#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chaos/plan.hpp"
#include "child.hpp"
#include "ferry/platform/result.hpp"

namespace ferry::cli::chaos {

using Ids = std::vector<std::uint64_t>;

/// One id a line; white space around it and empty lines are passed over.
///
/// Errors    a sentence with the line's number and what stands there.
ResultOr<Ids, std::string> parse_ids(std::string_view text);

/// What the plan's check lists, or the built-in handler's database in `directory`.
///
/// Errors    a sentence: the check ended with a status, or printed what is no id.
ResultOr<Ids, std::string> list_effects(const Plan& plan, const Child::Environment& environment,
                                        const std::string& directory);

}  // namespace ferry::cli::chaos
