#include <algorithm>

#include "findings.hpp"

namespace ferry::history {
namespace {

/// Who published what is in a queue: the message itself, the one that an exchange sent here, or one
/// that became a dead letter.
struct Origin {
    const Message* published = nullptr;
    bool elsewhere = false;  // it was published, but to other queues
};

Origin origin_of(const Ledger& ledger, const Message& message) {
    Origin origin;
    if (message.attempted()) {
        origin.published = &message;
        return origin;
    }
    const bool dead_letters = ledger.rules().dead_letter_queues.count(message.queue) != 0;
    for (const std::uint32_t place : ledger.places(message.id)) {
        const Message& other = ledger.messages()[place];
        if (!other.attempted()) continue;
        if (other.queue == 0 || message.queue == 0 || dead_letters) {
            origin.published = &other;
        } else {
            origin.elsewhere = true;
        }
    }
    return origin;
}

void check_refused(const Message& message, const Message& published, At seen, Findings& findings) {
    if (published.rolled_back != never && published.committed == never) {
        findings.add(Violation::phantom_rolled_back, message.id, [&] {
            return words(message) + " is there in " + words(seen) + ", but its transaction was " +
                   "rolled back in " + words(published.rolled_back);
        });
    } else if (published.refused() && published.commit_asked == never) {
        findings.add(Violation::phantom_failed, message.id, [&] {
            return words(message) + " is there in " + words(seen) + ", but every publish of it " +
                   "was refused";
        });
    }
}

void check_message(const Ledger& ledger, const Message& message, Findings& findings) {
    const At seen = !message.leases.empty()    ? message.leases.front().granted
                    : !message.effects.empty() ? message.effects.front()
                                               : never;
    if (seen == never) {
        if (message.confirmed != never && message.rolled_back != never &&
            message.committed == never) {
            check_refused(message, message, message.confirmed, findings);
        }
        return;
    }
    const Origin origin = origin_of(ledger, message);
    if (origin.published == nullptr) {
        const Violation what =
            origin.elsewhere ? Violation::phantom_queue : Violation::phantom_unknown;
        findings.add(what, message.id, [&] {
            return words(message) + " is there in " + words(seen) +
                   (origin.elsewhere ? ", but was published to other queues only"
                                     : ", but nobody published it");
        });
        return;
    }
    if (std::min(origin.published->asked_first, origin.published->commit_asked) > seen) {
        findings.add(Violation::phantom_unknown, message.id, [&] {
            return words(message) + " is there in " + words(seen) + ", before it was published";
        });
        return;
    }
    check_refused(message, *origin.published, seen, findings);
    for (const Lease& lease : message.leases) {
        if (lease.payload == 0 || origin.published->payload == 0 ||
            lease.payload == origin.published->payload) {
            continue;
        }
        findings.add(Violation::phantom_changed, message.id, [&] {
            return words(message) + " was delivered in " + words(lease.granted) +
                   " with other bytes than published";
        });
    }
}

/// What was synced when an event was noted.
std::uint64_t durable_at(const Ledger& ledger, At at) {
    const auto& marks = ledger.durable();
    auto after = std::upper_bound(marks.begin(), marks.end(), at,
                                  [](At one, const auto& mark) { return one < mark.first; });
    return after == marks.begin() ? 0 : std::prev(after)->second;
}

}  // namespace

void check_phantoms(const Ledger& ledger, Findings& findings) {
    for (const Message& message : ledger.messages()) check_message(ledger, message, findings);
    if (ledger.durable().empty()) return;
    for (At at = 0; at < ledger.history().size(); ++at) {
        const Event& event = ledger.history()[at];
        const bool promises =
            event.what == What::deliver || (event.what == What::publish && event.type == Type::ok);
        if (!promises || event.position == 0 || event.position < durable_at(ledger, at)) continue;
        findings.add(Violation::phantom_undurable, event.id, [&] {
            return "message " + std::to_string(event.id) + " was seen in " + words(at) +
                   " at position " + std::to_string(event.position) + ", where only " +
                   std::to_string(durable_at(ledger, at)) + " was synced";
        });
    }
}

}  // namespace ferry::history
