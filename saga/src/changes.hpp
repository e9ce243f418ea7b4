#pragma once

#include <string_view>

#include "runner.hpp"

namespace ferry::saga {

/// An event from a person or a program outside, with its line in the audit trail.
///
/// Errors    not_found; conflict: the saga is not in a state for it.
inline sqlite::Status change(Runner& runner, std::string_view id, const Event& event,
                             std::string_view who, std::string_view what, std::string_view note,
                             std::uint64_t now_ms, const Runner::Publish& publish) {
    auto outcome = runner.feed(id, event, now_ms, publish);
    if (!outcome.ok()) return outcome.error();
    if (!outcome.value().changed) {
        return sqlite::Problem{sqlite::Kind::conflict, 0,
                               "saga " + std::string(id) + ": " + outcome.value().refused};
    }
    return runner.store().audit(id, now_ms, who, what, note);
}

}  // namespace ferry::saga
