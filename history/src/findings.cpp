#include "findings.hpp"

#include <utility>

namespace ferry::history {
namespace {

/// Whose number an event's `id` is.
enum class Of : std::uint8_t { message, saga, lock };

Of theme(What what) {
    switch (what) {
        case What::saga_begin:
        case What::saga_step:
        case What::saga_undo:
        case What::saga_end:
            return Of::saga;
        case What::lock:
        case What::unlock:
            return Of::lock;
        default:
            return Of::message;
    }
}

Of theme(Violation what) {
    switch (what) {
        case Violation::saga_states:
        case Violation::saga_effects:
        case Violation::saga_order:
            return Of::saga;
        case Violation::double_lock:
        case Violation::lock_token:
            return Of::lock;
        default:
            return Of::message;
    }
}

/// The beginning and the end of what is too long to show.
std::vector<At> shortened(std::vector<At> events) {
    if (events.size() <= events_shown_max) return events;
    const auto half = static_cast<std::ptrdiff_t>(events_shown_max / 2);
    std::vector<At> few(events.begin(), events.begin() + half);
    few.insert(few.end(), events.end() - half, events.end());
    return few;
}

}  // namespace

std::vector<Finding> Findings::take(const History& history) {
    std::vector<Finding> found;
    for (Finding& finding : all_) {
        if (finding.count != 0) found.push_back(std::move(finding));
    }
    for (Finding& finding : found) {
        if (finding.ids.empty() || finding.ids.front() == 0) continue;
        std::vector<At> events;
        for (At at = 0; at < history.size(); ++at) {
            if (history[at].id == finding.ids.front() &&
                theme(history[at].what) == theme(finding.what)) {
                events.push_back(at);
            }
        }
        finding.events = shortened(std::move(events));
    }
    return found;
}

std::string words(const Message& message) {
    std::string text = "message " + std::to_string(message.id);
    if (message.queue != 0) text += " of queue " + std::to_string(message.queue);
    return text;
}

std::string words(At at) {
    return at == never ? "no event" : "event " + std::to_string(at);
}

}  // namespace ferry::history
