#include <algorithm>
#include <map>

#include "findings.hpp"

namespace ferry::history {
namespace {

bool arrived(const Ledger& ledger, const Message& message) {
    const auto seen = [&](const Message& one) {
        return one.may_be_acked() || !one.effects.empty() ||
               (!one.leases.empty() && ledger.rules().no_ack_queues.count(one.queue) != 0);
    };
    if (seen(message)) return true;
    if (message.queue != 0) return false;
    // Where an exchange sent it nobody noted: anywhere will do.
    const auto& places = ledger.places(message.id);
    return std::any_of(places.begin(), places.end(),
                       [&](std::uint32_t place) { return seen(ledger.messages()[place]); });
}

/// One producer's confirmed messages in one queue, in the order of their first publish.
using Row = std::vector<const Message*>;

void classify(const Ledger& ledger, Row& row, Findings& findings) {
    std::sort(row.begin(), row.end(),
              [](const Message* a, const Message* b) { return a->asked_first < b->asked_first; });
    std::vector<bool> is_lost(row.size());
    std::size_t first_survivor = row.size();
    std::size_t last_survivor = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
        is_lost[i] = lost(ledger, *row[i]);
        if (is_lost[i]) continue;
        first_survivor = std::min(first_survivor, i);
        last_survivor = i;
    }
    for (std::size_t i = 0; i < row.size(); ++i) {
        if (!is_lost[i]) continue;
        const Message& message = *row[i];
        if (!message.leases.empty()) {
            findings.add(Violation::lost_delivery, message.id, [&] {
                return words(message) + " was last handed out in " +
                       words(message.leases.back().granted) + " and never acked";
            });
            continue;
        }
        const Violation what = i < first_survivor  ? Violation::lost_prefix
                               : i < last_survivor ? Violation::lost_middle
                                                   : Violation::lost_suffix;
        findings.add(what, message.id, [&] {
            return words(message) + " was confirmed in " + words(message.confirmed) +
                   " and nobody ever had it";
        });
    }
}

}  // namespace

bool lost(const Ledger& ledger, const Message& message) {
    const At end = ledger.drained(message.queue);
    if (message.confirmed == never || end == never || message.confirmed > end) return false;
    return !arrived(ledger, message) && !ledger.excused(message, end);
}

void check_losses(const Ledger& ledger, Findings& findings) {
    std::map<std::pair<std::uint32_t, std::uint32_t>, Row> rows;
    bool drained = false;
    for (const Event& event : ledger.history()) drained |= event.what == What::drained;
    for (const Message& message : ledger.messages()) {
        const At end = ledger.drained(message.queue);
        if (message.confirmed == never || end == never || message.confirmed > end) continue;
        rows[{message.producer, message.queue}].push_back(&message);
    }
    for (auto& [whose, row] : rows) classify(ledger, row, findings);
    if (ledger.rules().drain_expected && !drained) {
        findings.add(Violation::not_drained, 0, [] {
            return std::string("nothing says that all queues were read empty at the end");
        });
    }
}

void check_effects(const Ledger& ledger, Findings& findings) {
    const Rules& rules = ledger.rules();
    for (const Message& message : ledger.messages()) {
        if (rules.effects_once && message.effects.size() > 1) {
            findings.add(Violation::duplicate_effect, message.id, [&] {
                return words(message) + " had " + std::to_string(message.effects.size()) +
                       " effects, the second in " + words(message.effects[1]);
            });
        }
        const At end = ledger.drained(message.queue);
        if (!rules.effects_expected || message.committed == never || end == never ||
            message.committed > end) {
            continue;
        }
        const auto& places = ledger.places(message.id);
        const bool has_effect = std::any_of(places.begin(), places.end(), [&](std::uint32_t place) {
            const Message& one = ledger.messages()[place];
            return (message.queue == 0 || one.queue == message.queue) && !one.effects.empty();
        });
        if (!has_effect && !ledger.excused(message, end)) {
            findings.add(Violation::lost_effect, message.id, [&] {
                return words(message) + " was committed in " + words(message.committed) +
                       " and had no effect";
            });
        }
    }
}

void check_expiry(const Ledger& ledger, Findings& findings) {
    const std::uint64_t tolerance = ledger.rules().tolerance_ns;
    for (const Message& message : ledger.messages()) {
        if (message.expires_ns == 0) continue;
        const At from = std::min(message.asked_first, message.commit_asked);
        const auto judged = [&](At at) {
            return !ledger.rules().wall_jumps || ledger.broker_crashes(from, at) == 0;
        };
        // When a life begins that no confirm tells of is known to nobody.
        const bool known = message.confirmed != never || message.committed != never ||
                           message.expires_ns == message.expires_first_ns;
        for (const Lease& lease : message.leases) {
            if (!known || !judged(lease.granted)) continue;
            if (ledger.time(lease.granted) <= message.expires_ns + tolerance) continue;
            findings.add(Violation::late_expiry, message.id, [&] {
                return words(message) + " was delivered in " + words(lease.granted) +
                       ", after its time to live";
            });
        }
        if (message.expired != never && judged(message.expired) &&
            ledger.time(message.expired) + tolerance < message.expires_first_ns) {
            findings.add(Violation::early_expiry, message.id, [&] {
                return words(message) + " was dropped in " + words(message.expired) +
                       ", before the end of its time to live";
            });
        }
    }
}

}  // namespace ferry::history
