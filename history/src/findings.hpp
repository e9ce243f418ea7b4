#pragma once

#include <array>
#include <string>

#include "ledger.hpp"

namespace ferry::history {

/// What the checks found so far. `text` is called for the first of each kind only.
class Findings {
public:
    template <class Text>
    void add(Violation what, std::uint64_t id, Text text) {
        Finding& finding = all_[static_cast<std::size_t>(what)];
        finding.what = what;
        if (finding.count++ == 0) finding.first = text();
        if (finding.ids.size() < ids_shown_max &&
            (finding.ids.empty() || finding.ids.back() != id)) {
            finding.ids.push_back(id);
        }
    }
    /// Those with a count, each with the events of its first id.
    [[nodiscard]] std::vector<Finding> take(const History& history);

private:
    std::array<Finding, violation_count> all_;
};

/// "message 7 of queue 2"
[[nodiscard]] std::string words(const Message& message);
/// "event 12"
[[nodiscard]] std::string words(At at);

/// A confirmed message that was not seen to its end although its queue was drained.
[[nodiscard]] bool lost(const Ledger& ledger, const Message& message);

// Each is one theme of the definitions in checker.hpp.
void check_losses(const Ledger& ledger, Findings& findings);
void check_leases(const Ledger& ledger, Findings& findings);
void check_positions(const Ledger& ledger, Findings& findings);
void check_order(const Ledger& ledger, Findings& findings);
void check_phantoms(const Ledger& ledger, Findings& findings);
void check_effects(const Ledger& ledger, Findings& findings);
void check_expiry(const Ledger& ledger, Findings& findings);
void check_counts(const Ledger& ledger, Findings& findings);
void check_readiness(const Ledger& ledger, Findings& findings);
void check_sagas(const Ledger& ledger, Findings& findings);
void check_dead_letters(const Ledger& ledger, Findings& findings);
void check_transactions(const Ledger& ledger, Findings& findings);
void check_locks(const Ledger& ledger, Findings& findings);

}  // namespace ferry::history
