#include "ferry/history/checker.hpp"

#include <array>
#include <set>

#include "findings.hpp"

namespace ferry::history {
namespace {

struct Words {
    Violation what;
    std::string_view name;
    std::string_view meaning;
};

constexpr std::array<Words, violation_count> all_words = {{
    {Violation::lost_prefix, "lost-prefix",
     "confirmed and never seen again, before a producer's first that was"},
    {Violation::lost_middle, "lost-middle",
     "confirmed and never seen again, between others of the producer"},
    {Violation::lost_suffix, "lost-suffix",
     "confirmed and never seen again, behind a producer's last that was"},
    {Violation::lost_delivery, "lost-delivery", "delivered, not acked, and never delivered again"},
    {Violation::lost_effect, "lost-effect",
     "committed by its producer, and no handler's effect came of it"},
    {Violation::duplicate_append, "duplicate-append", "one message at two places of one queue"},
    {Violation::duplicate_effect, "duplicate-effect", "more than one effect of one message"},
    {Violation::acked_redelivery, "acked-redelivery", "delivered after its ack was confirmed"},
    {Violation::double_lease, "double-lease", "delivered while another consumer's lease was live"},
    {Violation::token_conflict, "token-conflict",
     "delivered again with the token of a lease before"},
    {Violation::stale_ack, "stale-ack", "an ack confirmed after a later lease was given"},
    {Violation::phantom_unknown, "phantom-unknown", "seen, and nobody published it"},
    {Violation::phantom_changed, "phantom-changed", "delivered with other bytes than published"},
    {Violation::phantom_queue, "phantom-queue", "in a queue where nobody published it"},
    {Violation::phantom_failed, "phantom-failed", "seen, although every publish of it was refused"},
    {Violation::phantom_rolled_back, "phantom-rolled-back",
     "seen, although its transaction was rolled back"},
    {Violation::phantom_undurable, "phantom-undurable",
     "confirmed or delivered before it was synced"},
    {Violation::position_conflict, "position-conflict",
     "two messages at one place, or a place used again after a crash"},
    {Violation::producer_reordering, "producer-reordering",
     "one producer's messages of one key in another order"},
    {Violation::realtime_reordering, "realtime-reordering",
     "before a message that was confirmed before it was published"},
    {Violation::delivery_reordering, "delivery-reordering",
     "delivered before one ahead of it of its key was settled"},
    {Violation::false_empty, "false-empty",
     "a queue was said to be empty that had a message ready"},
    {Violation::over_delivery, "over-delivery", "a consumer had more at a time than its window"},
    {Violation::attempt_error, "attempt-error", "the count of deliveries or its flag does not fit"},
    {Violation::late_expiry, "late-expiry", "delivered after its time to live"},
    {Violation::early_expiry, "early-expiry", "dropped before the end of its time to live"},
    {Violation::conservation, "conservation", "the broker counts other messages than there can be"},
    {Violation::not_drained, "not-drained", "the run did not end with everything settled"},
    {Violation::stuck, "stuck", "messages were ready and nobody was given any"},
    {Violation::saga_states, "saga-states", "a saga without a final state, or with several"},
    {Violation::saga_effects, "saga-effects", "a step's effects are not one, or not undone"},
    {Violation::saga_order, "saga-order", "a saga's steps or compensations out of order"},
    {Violation::torn_transaction, "torn-transaction",
     "one part of a transaction took effect and another did not"},
    {Violation::two_fates, "two-fates",
     "acked and a dead letter as well, or delivered after it became one"},
    {Violation::dead_letter_unasked, "dead-letter-unasked",
     "a dead letter that nothing had made one"},
    {Violation::over_attempts, "over-attempts", "delivered more often than its queue allows"},
    {Violation::double_lock, "double-lock", "more holders of a lock at a time than permits"},
    {Violation::lock_token, "lock-token",
     "a lock's token that is not above those before, or has two holders"},
}};

constexpr bool in_order() {
    for (std::size_t i = 0; i < all_words.size(); ++i) {
        if (static_cast<std::size_t>(all_words[i].what) != i) return false;
    }
    return true;
}
static_assert(in_order());

void count(const Ledger& ledger, Report& report) {
    report.events = ledger.history().size();
    report.messages = ledger.messages().size();
    for (const Message& message : ledger.messages()) {
        report.confirmed += message.confirmed != never ? 1 : 0;
        report.committed += message.committed != never ? 1 : 0;
        report.deliveries += message.leases.size();
        report.effects += message.effects.size();
        for (const Lease& lease : message.leases) report.acked += lease.acked != never ? 1 : 0;
    }
    std::set<std::uint64_t> sagas;
    for (const Event& event : ledger.history()) {
        if (event.what == What::saga_begin) sagas.insert(event.id);
    }
    report.sagas = sagas.size();
}

}  // namespace

std::string_view name_of(Violation violation) noexcept {
    return all_words[static_cast<std::size_t>(violation)].name;
}

std::string_view meaning_of(Violation violation) noexcept {
    return all_words[static_cast<std::size_t>(violation)].meaning;
}

const Finding* Report::find(Violation what) const noexcept {
    for (const Finding& finding : findings) {
        if (finding.what == what) return &finding;
    }
    return nullptr;
}

Report check(const History& history, const Rules& rules) {
    const Ledger ledger(history, rules);
    Findings findings;
    check_losses(ledger, findings);
    check_effects(ledger, findings);
    check_positions(ledger, findings);
    check_leases(ledger, findings);
    check_phantoms(ledger, findings);
    check_order(ledger, findings);
    check_expiry(ledger, findings);
    check_counts(ledger, findings);
    check_readiness(ledger, findings);
    check_sagas(ledger, findings);
    check_dead_letters(ledger, findings);
    check_transactions(ledger, findings);
    check_locks(ledger, findings);
    Report report;
    count(ledger, report);
    report.findings = findings.take(history);
    return report;
}

}  // namespace ferry::history
