#include <algorithm>
#include <map>

#include "findings.hpp"

namespace ferry::history {
namespace {

/// A lock in somebody's hands.
struct Hold {
    std::uint32_t holder = 0;
    At told = never;
    std::uint64_t until_ns = 0;  // surely
    At let_go = never;           // asked
};

struct Lock {
    std::map<std::uint64_t, Hold> holds;  // by token
    std::uint64_t highest = 0;
    std::uint64_t highest_ns = 0;  // when it was told
};

std::string lock_words(std::uint64_t id) {
    return "lock " + std::to_string(id);
}

void note(const Ledger& ledger, At at, bool one_at_a_time, Lock& lock, Findings& findings) {
    const Event& event = ledger.history()[at];
    const auto [place, fresh] = lock.holds.try_emplace(event.lease);
    Hold& hold = place->second;
    if (event.what == What::unlock) {
        if (fresh) {
            lock.holds.erase(place);
        } else if (event.process == hold.holder) {
            hold.let_go = std::min(hold.let_go, at);
        }
        return;
    }
    const auto wrong = [&](const std::string& why) {
        findings.add(Violation::lock_token, event.id, [&] {
            return lock_words(event.id) + " was given to " + std::to_string(event.process) +
                   " in " + words(at) + " under token " + std::to_string(event.lease) + why;
        });
    };
    if (fresh) {
        hold.holder = event.process;
        hold.told = at;
        // Grants that become durable together are told together, in any order.
        const bool late = ledger.time(at) > lock.highest_ns + ledger.rules().tolerance_ns;
        if (one_at_a_time && event.lease < lock.highest && late)
            wrong(", after " + std::to_string(lock.highest));
        if (event.lease > lock.highest) {
            lock.highest = event.lease;
            lock.highest_ns = ledger.time(at);
        }
    } else if (hold.holder != event.process) {
        wrong(", which " + std::to_string(hold.holder) + " had");
        return;
    }
    hold.until_ns = std::max(hold.until_ns, event.expires_ns);
}

void check_holders(const Ledger& ledger, std::uint64_t id, std::int64_t permits, const Lock& lock,
                   Findings& findings) {
    struct Step {
        std::uint64_t at_ns;
        int by;  // what ends at a moment makes room for what begins then
        At at;
    };
    std::vector<Step> steps;
    for (const auto& [token, hold] : lock.holds) {
        const std::uint64_t from = ledger.time(hold.told);
        const std::uint64_t until = std::min(hold.until_ns, ledger.time(hold.let_go));
        if (until <= from) continue;
        steps.push_back({from, 1, hold.told});
        steps.push_back({until, -1, never});
    }
    std::sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) {
        return std::pair(a.at_ns, a.by) < std::pair(b.at_ns, b.by);
    });
    std::int64_t holding = 0;
    for (const Step& step : steps) {
        holding += step.by;
        if (step.by < 0 || holding <= permits) continue;
        findings.add(Violation::double_lock, id, [&] {
            return lock_words(id) + " had " + std::to_string(holding) + " holders in " +
                   words(step.at) + ", and it has " + std::to_string(permits) + " permits";
        });
    }
}

}  // namespace

void check_locks(const Ledger& ledger, Findings& findings) {
    std::map<std::uint64_t, Lock> locks;
    const auto permits_of = [&](std::uint64_t id) {
        const auto& all = ledger.rules().lock_permits;
        const auto at = all.find(static_cast<std::uint32_t>(id));
        return std::int64_t{at == all.end() ? 1 : at->second};
    };
    for (At at = 0; at < ledger.history().size(); ++at) {
        const Event& event = ledger.history()[at];
        if (event.what != What::lock && event.what != What::unlock) continue;
        if (event.lease == 0) continue;
        note(ledger, at, permits_of(event.id) == 1, locks[event.id], findings);
    }
    for (const auto& [id, lock] : locks) check_holders(ledger, id, permits_of(id), lock, findings);
}

}  // namespace ferry::history
