#include <algorithm>
#include <map>
#include <utility>

#include "findings.hpp"

namespace ferry::history {
namespace {

// Later leases have larger tokens. Without tokens the order in which deliveries were noted is all
// there is, and it proves less.
bool later(const Lease& a, const Lease& b) {
    return a.token != 0 || b.token != 0 ? b.token > a.token : b.granted > a.granted;
}

void check_pair(const Ledger& ledger, const Message& message, const Lease& first,
                const Lease& second, Findings& findings) {
    if (first.token != 0 && first.token == second.token) {
        findings.add(Violation::token_conflict, message.id, [&] {
            return words(message) + " was handed out in " + words(first.granted) + " and in " +
                   words(second.granted) + " with the token " + std::to_string(first.token);
        });
    }
    if (!later(first, second)) return;
    const bool tokens = first.token != 0;
    if (first.acked != never && second.granted > first.acked) {
        findings.add(Violation::acked_redelivery, message.id, [&] {
            return words(message) + " was handed out in " + words(second.granted) +
                   " although its ack was confirmed in " + words(first.acked);
        });
    } else if (first.acked != never && tokens && second.granted < first.acked) {
        // Either the ack came after the later lease, or the lease after the ack: both are wrong.
        findings.add(Violation::stale_ack, message.id, [&] {
            return words(message) + ": an ack of a lease that was over was confirmed in " +
                   words(first.acked) + ", after the lease of " + words(second.granted);
        });
    }
    const bool overlaps =
        first.granted < second.granted && second.granted < first.live_until &&
        first.live_until_ns > ledger.time(second.granted) + ledger.rules().tolerance_ns;
    if (overlaps) {
        findings.add(Violation::double_lease, message.id, [&] {
            return words(message) + " was handed out in " + words(second.granted) +
                   " while the lease of " + words(first.granted) + " was live";
        });
    }
}

void check_attempts(const Ledger& ledger, const Message& message, Findings& findings) {
    const Rules& rules = ledger.rules();
    if (rules.attempts == Attempts::unchecked) return;
    const bool exact = rules.attempts == Attempts::exact;
    const Lease* before = nullptr;
    for (const Lease& lease : message.leases) {
        if (lease.attempt == 0) continue;
        const At since = before != nullptr               ? before->granted
                         : message.asked_first != never  ? message.asked_first
                         : message.commit_asked != never ? message.commit_asked
                                                         : 0;
        const std::size_t crashes = ledger.broker_crashes(since, lease.granted);
        const std::uint64_t least = before != nullptr ? std::uint64_t{before->attempt} + 1 : 1;
        const bool counts = lease.attempt >= least && (!exact || lease.attempt <= least + crashes);
        const bool flagged =
            before != nullptr ? lease.redelivered : !exact || !lease.redelivered || crashes != 0;
        if (!counts || !flagged) {
            findings.add(Violation::attempt_error, message.id, [&] {
                return words(message) + " came in " + words(lease.granted) + " as attempt " +
                       std::to_string(lease.attempt) +
                       (lease.redelivered ? ", redelivered" : ", not redelivered") + ", after " +
                       (before != nullptr ? "attempt " + std::to_string(before->attempt)
                                          : std::string("none"));
            });
        }
        before = &lease;
    }
}

/// A lease takes a place in its holder's window from `at` on, or gives it back.
struct Step {
    At at;
    int by;
    std::uint64_t id;
};

void add_steps(const Ledger& ledger, const Message& message,
               std::map<std::uint32_t, std::vector<Step>>& steps) {
    for (std::size_t i = 0; i < message.leases.size(); ++i) {
        const Lease& lease = message.leases[i];
        if (ledger.rules().windows.count(lease.holder) == 0) continue;
        // Who was given the message next shows that this lease was over, although nobody saw it end
        // (that it was over too early is a double lease).
        At until = lease.live_until;
        if (i + 1 < message.leases.size()) until = std::min(until, message.leases[i + 1].granted);
        auto& own = steps[lease.holder];
        own.push_back({lease.granted, 1, message.id});
        if (until != never) own.push_back({std::max(until, lease.granted), -1, message.id});
    }
}

/// One consumer's leases as steps up and down; at one event what ends is counted first.
void check_windows(const Ledger& ledger, Findings& findings) {
    std::map<std::uint32_t, std::vector<Step>> steps;
    for (const Message& message : ledger.messages()) add_steps(ledger, message, steps);
    for (auto& [consumer, own] : steps) {
        std::sort(own.begin(), own.end(), [](const Step& a, const Step& b) {
            return std::pair(a.at, a.by) < std::pair(b.at, b.by);
        });
        const std::int64_t window = ledger.rules().windows.at(consumer);
        std::int64_t live = 0;
        for (const Step& step : own) {
            live += step.by;
            if (step.by < 0 || live <= window) continue;
            const std::uint32_t who = consumer;
            findings.add(Violation::over_delivery, step.id, [&] {
                return "consumer " + std::to_string(who) + " had " + std::to_string(live) +
                       " live leases in " + words(step.at) + ", and its window is " +
                       std::to_string(window);
            });
        }
    }
}

}  // namespace

void check_leases(const Ledger& ledger, Findings& findings) {
    for (const Message& message : ledger.messages()) {
        const auto& leases = message.leases;
        for (std::size_t i = 1; i < leases.size(); ++i) {
            check_pair(ledger, message, leases[i - 1], leases[i], findings);
        }
        // An ack settles for good, not only until the next lease.
        for (std::size_t i = 2; i < leases.size(); ++i) {
            for (std::size_t j = 0; j + 1 < i && j < 8; ++j) {
                if (leases[j].acked == never) continue;
                check_pair(ledger, message, leases[j], leases[i], findings);
                break;
            }
        }
        check_attempts(ledger, message, findings);
    }
    if (!ledger.rules().windows.empty()) check_windows(ledger, findings);
}

}  // namespace ferry::history
