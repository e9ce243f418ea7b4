#pragma once

#include <string>

#include "ferry/transport/admin.hpp"

namespace ferry::cli {

/// A fact of why() as a sentence. One that is not known here is shown with its details.
[[nodiscard]] std::string words_of(const transport::Fact& fact);

}  // namespace ferry::cli
