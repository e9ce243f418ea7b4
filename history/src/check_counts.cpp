#include <algorithm>
#include <map>
#include <utility>

#include "findings.hpp"

namespace ferry::history {
namespace {

/// From `from` until `to` a message lay in a queue, ready for anybody.
struct Ready {
    At from = never;
    At to = never;
    std::uint64_t id = 0;
};

/// From here on its life may be over.
At may_expire(const Ledger& ledger, const Message& message) {
    if (message.expires_first_ns == 0) return never;
    const std::uint64_t early = std::min(message.expires_first_ns, ledger.rules().tolerance_ns);
    const At over = ledger.at_time(message.expires_first_ns - early);
    if (!ledger.rules().wall_jumps) return over;
    return std::min(over, ledger.broker_crash(std::min(message.asked_first, message.commit_asked)));
}

/// Only what is certain: from a confirm, or the end of a lease, until something may have taken it.
void add_ready(const Ledger& ledger, const Message& message, std::vector<Ready>& out) {
    if (message.queue == 0 || message.confirmed == never) return;
    // Which message of a key is free is the broker's to know.
    if (message.key != 0 && ledger.rules().ordered_queues.count(message.queue) != 0) return;
    At gone = std::min(
        {message.expired, message.dead, ledger.purged(message.queue, message.asked_first)});
    gone = std::min(gone, may_expire(ledger, message));
    At from = message.confirmed;
    for (const Lease& lease : message.leases) {
        if (from < std::min(lease.granted, gone)) {
            out.push_back({from, std::min(lease.granted, gone), message.id});
        }
        if (lease.may_be_acked) return;
        At back = std::min(lease.ended, lease.returned);
        if (back == never) return;
        // Given back may mean later, or refused for good; what came again was not.
        const bool last = &lease == &message.leases.back();
        if (last && (lease.returned != never || message.dead != never)) return;
        if (lease.returned != never) {
            back = ledger.at_time(ledger.time(back) + ledger.rules().retry_delay_ns);
        }
        if (back == never) return;
        from = std::max(from, back);
    }
    if (from < gone) out.push_back({from, gone, message.id});
}

using Queues = std::map<std::uint32_t, std::vector<Ready>>;

void check_polls(const Ledger& ledger, const Queues& queues, Findings& findings) {
    std::map<std::uint32_t, std::vector<Ledger::Call>> polls;
    for (const Ledger::Call& poll : ledger.empty_polls()) polls[poll.queue].push_back(poll);
    for (auto& [queue, calls] : polls) {
        const auto there = queues.find(queue);
        if (there == queues.end()) continue;
        std::vector<Ready> ready = there->second;
        std::sort(ready.begin(), ready.end(),
                  [](const Ready& a, const Ready& b) { return a.from < b.from; });
        std::sort(calls.begin(), calls.end(),
                  [](const Ledger::Call& a, const Ledger::Call& b) { return a.asked < b.asked; });
        auto next = ready.begin();
        Ready longest{0, 0, 0};
        for (const Ledger::Call& call : calls) {
            for (; next != ready.end() && next->from < call.asked; ++next) {
                if (next->to > longest.to) longest = *next;
            }
            if (longest.to <= call.answered) continue;
            findings.add(Violation::false_empty, longest.id, [&] {
                return "queue " + std::to_string(call.queue) + " was said to be empty in " +
                       words(call.answered) + " while message " + std::to_string(longest.id) +
                       " lay there ready since " + words(longest.from);
            });
        }
    }
}

/// The longest time after healing in which something was ready and nothing was delivered.
void check_silence(const Ledger& ledger, std::uint32_t queue, std::vector<Ready> ready,
                   const std::vector<std::uint64_t>& deliveries, Findings& findings) {
    const Rules& rules = ledger.rules();
    const std::uint64_t last = ledger.history().empty() ? 0 : ledger.history().back().time_ns;
    std::sort(ready.begin(), ready.end(),
              [](const Ready& a, const Ready& b) { return a.from < b.from; });
    std::uint64_t from = 0;
    std::uint64_t until = 0;
    const auto judge = [&](std::uint64_t id) {
        std::uint64_t silent_since = std::max(from, rules.healed_ns);
        auto heard = std::lower_bound(deliveries.begin(), deliveries.end(), silent_since);
        for (; silent_since < until; ++heard) {
            const std::uint64_t next = heard == deliveries.end() ? until : std::min(*heard, until);
            if (next - silent_since > rules.stuck_ns) {
                findings.add(Violation::stuck, id, [&] {
                    return "queue " + std::to_string(queue) + " had messages ready, as " +
                           std::to_string(id) + ", and gave out none for " +
                           std::to_string((next - silent_since) / 1'000'000) + " ms";
                });
                return;
            }
            if (heard == deliveries.end()) return;
            silent_since = next;
        }
    };
    std::uint64_t id = 0;
    for (const Ready& one : ready) {
        const std::uint64_t begin = ledger.time(one.from);
        const std::uint64_t end = std::min(ledger.time(one.to), last);
        if (begin > until) {
            judge(id);
            from = begin;
            id = one.id;
        }
        if (end >= until) id = one.id;
        until = std::max(until, end);
    }
    judge(id);
}

/// How many messages a queue surely and at most has, as steps.
struct Step {
    At at = 0;
    std::int64_t sure = 0;
    std::int64_t possible = 0;
};

void add_steps(const Ledger& ledger, const Message& message, std::vector<Step>& out) {
    const At asked = std::min(message.asked_first, message.commit_asked);
    At stored = message.confirmed;
    At gone = std::min(message.expired, message.dead);
    for (const Lease& lease : message.leases) {
        stored = std::min(stored, lease.granted);
        gone = std::min(gone, lease.acked);
    }
    if (message.refused() && message.commit_asked == never && message.leases.empty()) return;
    if (message.rolled_back != never && message.committed == never && message.leases.empty())
        return;
    const At possible = std::min(asked, stored);
    if (possible == never || possible >= gone) return;
    out.push_back({possible, 0, 1});
    if (gone != never) out.push_back({gone, 0, -1});
    At unsure =
        std::min(message.settled(), ledger.purged(message.queue, asked == never ? 0 : asked));
    unsure = std::min(unsure, may_expire(ledger, message));
    // When it left for where it was seen as a dead letter nobody knows.
    if (message.dead_position != 0) unsure = stored;
    if (stored >= unsure) return;
    out.push_back({stored, 1, 0});
    if (unsure != never) out.push_back({unsure, -1, 0});
}

}  // namespace

void check_counts(const Ledger& ledger, Findings& findings) {
    std::map<std::uint32_t, std::vector<At>> looks;
    for (At at = 0; at < ledger.history().size(); ++at) {
        const Event& event = ledger.history()[at];
        if (event.what == What::depth) looks[event.queue].push_back(at);
    }
    if (looks.empty()) return;
    std::map<std::uint32_t, std::vector<Step>> steps;
    for (const Message& message : ledger.messages()) {
        if (looks.count(message.queue) != 0) add_steps(ledger, message, steps[message.queue]);
    }
    for (const auto& [queue, when] : looks) {
        // What arrives there as a dead letter nobody can foresee.
        if (ledger.rules().dead_letter_queues.count(queue) != 0) continue;
        auto& own = steps[queue];
        std::sort(own.begin(), own.end(), [](const Step& a, const Step& b) { return a.at < b.at; });
        std::int64_t sure = 0;
        std::int64_t possible = 0;
        auto next = own.begin();
        for (const At at : when) {
            for (; next != own.end() && next->at < at; ++next) {
                sure += next->sure;
                possible += next->possible;
            }
            const Event& event = ledger.history()[at];
            const auto said = static_cast<std::int64_t>(event.position + event.lease);
            if (said >= sure && said <= possible) continue;
            const std::uint32_t which = queue;
            findings.add(Violation::conservation, 0, [&] {
                return "queue " + std::to_string(which) + " was said to have " +
                       std::to_string(said) + " messages in " + words(at) + ", and it has " +
                       std::to_string(sure) + " to " + std::to_string(possible);
            });
        }
    }
}

void check_readiness(const Ledger& ledger, Findings& findings) {
    const Rules& rules = ledger.rules();
    const bool silence = rules.stuck_ns != 0;
    const bool polls = rules.broker_order && !ledger.empty_polls().empty();
    if (!silence && !polls) return;
    Queues ready;
    std::map<std::uint32_t, std::vector<std::uint64_t>> deliveries;
    for (const Message& message : ledger.messages()) {
        add_ready(ledger, message, ready[message.queue]);
        for (const Lease& lease : message.leases) {
            deliveries[message.queue].push_back(ledger.time(lease.granted));
        }
    }
    if (polls) check_polls(ledger, ready, findings);
    if (!silence) return;
    for (auto& [queue, own] : ready) {
        auto& heard = deliveries[queue];
        std::sort(heard.begin(), heard.end());
        check_silence(ledger, queue, own, heard, findings);
    }
}

}  // namespace ferry::history
