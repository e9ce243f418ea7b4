#include <unordered_map>

#include "findings.hpp"

namespace ferry::history {
namespace {

void check_one_message_per_position(const Ledger& ledger, Findings& findings) {
    // Per queue: a message that went to several queues has one position in all of them.
    std::unordered_map<std::uint32_t, std::unordered_map<std::uint64_t, const Message*>> owners;
    for (const Message& message : ledger.messages()) {
        for (const auto& [position, at] : message.positions) {
            const auto [owner, is_new] = owners[message.queue].emplace(position, &message);
            if (is_new || owner->second->id == message.id) continue;
            const std::uint64_t other = owner->second->id;
            const std::uint64_t where = position;
            findings.add(Violation::position_conflict, message.id, [&message, other, where] {
                return words(message) + " and message " + std::to_string(other) +
                       " were both seen at position " + std::to_string(where);
            });
        }
    }
}

}  // namespace

void check_positions(const Ledger& ledger, Findings& findings) {
    if (!ledger.rules().positions_checked) return;
    check_one_message_per_position(ledger, findings);
    for (const Message& message : ledger.messages()) {
        if (message.positions.size() < 2) continue;
        findings.add(Violation::duplicate_append, message.id, [&] {
            return words(message) + " lies at positions " +
                   std::to_string(message.positions[0].first) + " and " +
                   std::to_string(message.positions[1].first);
        });
    }
}

}  // namespace ferry::history
