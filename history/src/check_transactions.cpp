#include <algorithm>

#include "findings.hpp"

namespace ferry::history {
namespace {

/// What is known of one part; nothing: `at` stays `never` in both.
struct Parts {
    std::string done;  // the first that surely took effect
    std::string not_done;
};

bool seen(const Message& message) {
    return message.confirmed != never || !message.leases.empty() || !message.effects.empty();
}

void look_at_publish(const Ledger& ledger, const Message& message, Parts& parts) {
    // One that was tried again may be there by the other try.
    if (message.tries != 1) return;
    if (seen(message)) {
        if (parts.done.empty()) parts.done = words(message) + " is there";
        return;
    }
    const At end = ledger.drained(message.queue);
    if (end == never || message.asked_first > end || ledger.excused(message, end)) return;
    if (parts.not_done.empty()) parts.not_done = words(message) + " was never seen";
}

void look_at_settled(const Ledger& ledger, const Message& message, std::uint64_t token,
                     Parts& parts) {
    if (token == 0) return;
    const auto later = std::find_if(message.leases.begin(), message.leases.end(),
                                    [&](const Lease& lease) { return lease.token > token; });
    if (later != message.leases.end()) {
        if (parts.not_done.empty())
            parts.not_done = words(message) + " came again in " + words(later->granted);
        return;
    }
    const At end = ledger.drained(message.queue);
    if (end == never || message.asked_first > end || ledger.excused(message, end)) return;
    if (parts.done.empty()) parts.done = words(message) + " never came again";
}

}  // namespace

// Where the answer is known each part is judged by itself: an ack that was confirmed, a message
// that was refused. Where nobody heard an answer the parts have to agree.
void check_transactions(const Ledger& ledger, Findings& findings) {
    for (const Transaction& one : ledger.transactions()) {
        if (one.done || one.refused) continue;
        Parts parts;
        std::uint64_t id = 0;
        for (const std::uint32_t index : one.publishes) {
            const Message& message = ledger.messages()[index];
            if (id == 0) id = message.id;
            look_at_publish(ledger, message, parts);
        }
        for (const auto& [index, token] : one.settled) {
            const Message& message = ledger.messages()[index];
            if (id == 0) id = message.id;
            look_at_settled(ledger, message, token, parts);
        }
        if (parts.done.empty() || parts.not_done.empty()) continue;
        findings.add(Violation::torn_transaction, id, [&] {
            return "of transaction " + std::to_string(one.group) + " " + parts.done + ", but " +
                   parts.not_done;
        });
    }
}

}  // namespace ferry::history
