#include "findings.hpp"

namespace ferry::history {
namespace {

void check_fates(const Ledger& ledger, const Message& message, Findings& findings) {
    for (const Lease& lease : message.leases) {
        if (lease.acked != never) {
            findings.add(Violation::two_fates, message.id, [&] {
                return words(message) + " was acked in " + words(lease.acked) +
                       " and is a dead letter in " + words(message.dead);
            });
            return;
        }
        // Tokens and positions are of one log: what has the larger one came later.
        if (!ledger.rules().positions_checked || lease.token <= message.dead_position) continue;
        findings.add(Violation::two_fates, message.id, [&] {
            return words(message) + " was handed out in " + words(lease.granted) +
                   " although it was a dead letter since position " +
                   std::to_string(message.dead_position);
        });
        return;
    }
}

/// A dead letter needs a reject, too many deliveries, or the end of its life.
void check_reason(const Ledger& ledger, const Message& message, Findings& findings) {
    const Rules& rules = ledger.rules();
    if (rules.dead_letter_from.count(message.queue) == 0) return;  // nothing is known of it
    if (rules.deliveries_max.count(message.queue) != 0) return;    // some were seen by nobody
    for (const Lease& lease : message.leases) {
        if (lease.rejected) return;
    }
    if (message.expires_first_ns == 0) {
        findings.add(Violation::dead_letter_unasked, message.id, [&] {
            return words(message) + " is a dead letter in " + words(message.dead) +
                   ", and nobody rejected it";
        });
        return;
    }
    const At from = std::min(message.asked_first, message.commit_asked);
    if (rules.wall_jumps && ledger.broker_crashes(from, message.dead) != 0) return;
    if (ledger.time(message.dead) + rules.tolerance_ns >= message.expires_first_ns) return;
    findings.add(Violation::early_expiry, message.id, [&] {
        return words(message) + " is a dead letter in " + words(message.dead) +
               ", before the end of its time to live";
    });
}

void check_deliveries(const Ledger& ledger, const Message& message, Findings& findings) {
    const auto most = ledger.rules().deliveries_max.find(message.queue);
    if (most == ledger.rules().deliveries_max.end()) return;
    for (const Lease& lease : message.leases) {
        if (lease.attempt <= most->second) continue;
        findings.add(Violation::over_attempts, message.id, [&] {
            return words(message) + " came in " + words(lease.granted) + " as attempt " +
                   std::to_string(lease.attempt) + ", and its queue allows " +
                   std::to_string(most->second);
        });
        return;
    }
}

}  // namespace

void check_dead_letters(const Ledger& ledger, Findings& findings) {
    for (const Message& message : ledger.messages()) {
        check_deliveries(ledger, message, findings);
        if (message.dead_position == 0) continue;
        // Of a message in several queues nobody knows in which it died.
        std::size_t elsewhere = 0;
        for (const std::uint32_t place : ledger.places(message.id)) {
            const std::uint32_t queue = ledger.messages()[place].queue;
            if (ledger.rules().dead_letter_queues.count(queue) == 0) ++elsewhere;
        }
        if (elsewhere != 1) continue;
        check_fates(ledger, message, findings);
        check_reason(ledger, message, findings);
    }
}

}  // namespace ferry::history
