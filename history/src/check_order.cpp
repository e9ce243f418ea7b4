#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "findings.hpp"

namespace ferry::history {
namespace {

/// Something that began at `begin`, was over at `end`, and has its place at `position`.
struct Span {
    At begin = never;
    At end = never;
    std::uint64_t position = 0;
    const Message* message = nullptr;
};

/// Calls `found(earlier, later)` for each span that began when another was over that lies behind
/// it; the earlier one given is the one that lies farthest behind.
template <class Found>
void find_inversions(const std::vector<Span>& spans, Found found) {
    std::vector<const Span*> by_begin;
    std::vector<const Span*> by_end;
    for (const Span& span : spans) {
        if (span.begin != never) by_begin.push_back(&span);
        if (span.end != never) by_end.push_back(&span);
    }
    std::sort(by_begin.begin(), by_begin.end(),
              [](const Span* a, const Span* b) { return a->begin < b->begin; });
    std::sort(by_end.begin(), by_end.end(),
              [](const Span* a, const Span* b) { return a->end < b->end; });
    const Span* farthest = nullptr;
    auto over = by_end.begin();
    for (const Span* const span : by_begin) {
        for (; over != by_end.end() && (*over)->end < span->begin; ++over) {
            if (farthest == nullptr || (*over)->position > farthest->position) farthest = *over;
        }
        if (farthest != nullptr && farthest->position > span->position &&
            farthest->message != span->message) {
            found(*farthest, *span);
        }
    }
}

std::uint64_t position_of(const Message& message) {
    return message.positions.empty() ? 0 : message.positions.front().first;
}

std::string both(const Span& earlier, const Span& later) {
    return words(*later.message) + " lies at " + std::to_string(later.position) +
           ", before message " + std::to_string(earlier.message->id) + " at " +
           std::to_string(earlier.position);
}

void check_producers(const Ledger& ledger, Findings& findings) {
    using Lane = std::tuple<bool, std::uint32_t, std::uint32_t, std::uint64_t>;
    std::map<Lane, std::vector<Span>> lanes;
    for (const Message& message : ledger.messages()) {
        const std::uint64_t position = position_of(message);
        if (position == 0) continue;
        if (message.committed != never) {
            // An outbox keeps the order of commits of one key; messages without one may pass those
            // that were refused.
            if (message.key == 0) continue;
            lanes[{true, message.application, message.queue, message.key}].push_back(
                {message.commit_asked, message.committed, position, &message});
        } else if (message.confirmed != never) {
            lanes[{false, message.producer, message.queue, message.key}].push_back(
                {message.asked_first, std::max(message.asked_first, message.asked_last), position,
                 &message});
        }
    }
    for (const auto& [lane, spans] : lanes) {
        find_inversions(spans, [&](const Span& earlier, const Span& later) {
            findings.add(Violation::producer_reordering, later.message->id, [&] {
                return both(earlier, later) + ", which the same producer published earlier";
            });
        });
    }
}

void check_real_time(const Ledger& ledger, Findings& findings) {
    std::map<std::uint32_t, std::vector<Span>> queues;
    for (const Message& message : ledger.messages()) {
        const std::uint64_t position = position_of(message);
        if (position == 0) continue;
        const At begin = std::min(message.asked_first, message.commit_asked);
        At known = message.confirmed;
        // Who has it delivered knows of it as well as who has it confirmed.
        for (const Lease& lease : message.leases) known = std::min(known, lease.granted);
        queues[message.queue].push_back({begin, known, position, &message});
    }
    for (const auto& [queue, spans] : queues) {
        find_inversions(spans, [&](const Span& earlier, const Span& later) {
            const bool restarted = ledger.broker_crashes(earlier.end, later.begin) != 0;
            findings.add(restarted ? Violation::position_conflict : Violation::realtime_reordering,
                         later.message->id, [&] {
                             return both(earlier, later) + ", which was known in " +
                                    words(earlier.end) + " already, when it was published in " +
                                    words(later.begin) +
                                    (restarted ? ", after a crash of the broker" : "");
                         });
        });
    }
}

/// Messages of one key of an ordered queue: each delivery needs all that lie before it settled.
void check_key(const Ledger& ledger, std::vector<const Message*>& row, Findings& findings) {
    std::sort(row.begin(), row.end(),
              [](const Message* a, const Message* b) { return position_of(*a) < position_of(*b); });
    const Message* open = nullptr;  // of those before, the one that was settled last
    At open_until = 0;
    for (const Message* const message : row) {
        for (const Lease& lease : message->leases) {
            if (open == nullptr || lease.granted > open_until) continue;
            findings.add(Violation::delivery_reordering, message->id, [&] {
                return words(*message) + " was delivered in " + words(lease.granted) +
                       " while message " + std::to_string(open->id) +
                       " of its key, which lies before it, was not settled";
            });
            break;
        }
        At settled = message->let_pass();
        const At from = std::min(message->asked_first, message->commit_asked);
        settled = std::min(settled, ledger.purged(message->queue, from == never ? 0 : from));
        // It may have expired, or have become a dead letter, at a moment that nobody noted.
        if (message->expires_ns != 0 || message->dead_position != 0) continue;
        if (settled == never && ledger.excused(*message, 0)) continue;
        if (open == nullptr || settled > open_until) {
            open = message;
            open_until = settled;
        }
    }
}

}  // namespace

void check_order(const Ledger& ledger, Findings& findings) {
    if (!ledger.rules().positions_checked) return;
    check_producers(ledger, findings);
    check_real_time(ledger, findings);
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<const Message*>> keys;
    for (const Message& message : ledger.messages()) {
        if (message.key == 0 || position_of(message) == 0) continue;
        if (ledger.rules().ordered_queues.count(message.queue) == 0) continue;
        keys[{message.queue, message.key}].push_back(&message);
    }
    for (auto& [key, row] : keys) check_key(ledger, row, findings);
}

}  // namespace ferry::history
