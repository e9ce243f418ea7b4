#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fields.hpp"

namespace ferry::server::native {

/// A queue's settings as a client writes them, in queue_declare and policy_set. The engine checks
/// what the options do not.
struct PolicyFields {
    engine::QueuePolicy numbers;
    std::string_view retry;
    std::string_view overflow;
    std::string_view exchange;
    std::string_view key;
    std::uint64_t jitter = 0;
    std::uint64_t deliveries = 0;

    /// Adds the options that fill these fields; they point into this object. `of_queue`: those too
    /// that only a declaration may have.
    void add_options(std::vector<Option>& out, bool of_queue);
    /// What is wrong, or empty.
    [[nodiscard]] std::string fill(engine::QueuePolicy& out) const;
};

}  // namespace ferry::server::native
