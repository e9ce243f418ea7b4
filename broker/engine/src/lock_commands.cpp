// Named locks: who holds one, who is next, and until when.
//
//   lock    free: a grant record, whose position is the fencing token. Not free: a wait record, or
//           LOCK_HELD for who does not want to wait
//   renew   no record: deadlines are not durable, and after a restart count anew
//   unlock  an end record; the next of the line gets its grant record in the same turn, so handing
//           over costs one sync and concerns nobody else in the line
//   lost    time to live ran out, or an operator took it: the same, but nobody gets the permit
//           before the holder's delay is over, so that what it sent before it fell silent arrives
//           first
//
// The line is kept to strictly. If its first is away (its connection broke, or the broker was
// restarted) it has its time to live to come back; nobody overtakes it meanwhile.

#include <algorithm>

#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
// More are not looked at in one tick, so that a turn ends.
constexpr std::size_t looked_at_max = 1024;

std::string quoted(std::string_view name) {
    return "'" + std::string(name) + "'";
}

}  // namespace

Position Engine::State::write_grant(Locks::Lock& lock, std::string_view holder,
                                    const Locks::Terms& terms) {
    put_lock_party(body, RecordType::lock_grant, lock, holder, terms);
    const Position token = append(body).position;
    locks.grant(lock, holder, terms, token);
    locks.set_deadline(lock, holder, last_now.ns + terms.ttl_ms * ns_per_ms);
    ++totals.lock_grants;
    return token;
}

void Engine::State::serve_lock(std::string_view name, Now now) {
    Locks::Lock* lock = locks.find(name);
    if (lock == nullptr) return;
    see(now.mono);
    while (lock->has_room() && !lock->line.empty()) {
        const auto& [holder, first] = *lock->line.begin()->second;
        if (first.session == 0) return;
        LockTold told;
        told.session = first.session;
        told.request = first.request;
        told.name = lock->name;
        told.granted = true;
        const Locks::Terms terms = first.terms;
        told.token = write_grant(*lock, holder, terms);
        after(told.token, std::move(told));
    }
}

// The party is gone afterwards, and with it perhaps the lock.
void Engine::State::write_end(Locks::Lock& lock, Locks::Party& party, Locks::End how, Now now) {
    const Position token = party.at;
    const std::string holder = lock.grants.find(token)->second->first;
    const std::string name = lock.name;
    put_lock_end(body, lock, holder, token, how);
    append(body);
    if (how == Locks::End::released) {
        ++totals.lock_releases;
    } else {
        ++(how == Locks::End::lost ? totals.lock_losses : totals.lock_forced);
        if (party.session != 0)
            after(last_gate, LockTold{party.session, party.request, name, token, false});
    }
    const std::uint64_t delay = how == Locks::End::released ? 0 : party.terms.delay_ms;
    if (!locks.end(lock, holder, how)) return;
    if (delay != 0) locks.set_delay_deadline(lock, token, now.mono.ns + delay * ns_per_ms);
    serve_lock(name, now);
}

void Engine::State::write_leave(Locks::Lock& lock, Locks::Party& party) {
    const std::string holder = lock.line.find(party.at)->second->first;
    put_lock_leave(body, lock, holder);
    append(body);
    locks.end(lock, holder, Locks::End::released);
}

void Engine::lock(const LockCommand& command, Now now) {
    State& s = *state_;
    s.see(now);
    const auto failed = [&](Code code, std::string text) {
        s.fail(command.session, command.request, code, std::move(text));
    };
    LockCommand wanted = command;
    if (wanted.ttl_ms == 0) wanted.ttl_ms = limits::lock_ttl_ms_default;
    if (std::string wrong = complaint_of(wanted); !wrong.empty())
        return failed(Code::bad_option, std::move(wrong));
    Locks::Lock* lock = s.locks.find(command.name);
    if (lock != nullptr && lock->permits != command.permits) {
        return failed(Code::declared_differently, "lock " + quoted(command.name) + " has " +
                                                      std::to_string(lock->permits) +
                                                      " permits while somebody holds or awaits it");
    }
    if (lock != nullptr && lock->parties.count(command.holder) != 0) {
        const Locks::Party& party = lock->parties.find(command.holder)->second;
        s.locks.attach(*lock, command.holder, command.session, command.request);
        LockAnswer answer;
        if (party.holds) {
            answer.token = party.at;
            s.locks.set_deadline(*lock, command.holder,
                                 now.mono.ns + party.terms.ttl_ms * ns_per_ms);
        } else {
            s.locks.set_deadline(*lock, command.holder, 0);
            answer.ahead = static_cast<std::uint64_t>(
                std::distance(lock->line.begin(), lock->line.find(party.at)));
        }
        s.reply(party.at, command.session, command.request, answer);
        return s.serve_lock(command.name, now);
    }
    const bool free = lock == nullptr || (lock->has_room() && lock->line.empty());
    if (!free && !command.wait) {
        const bool shut = lock->grants.size() < lock->permits && lock->line.empty();
        return failed(Code::lock_held,
                      shut ? "lock " + quoted(command.name) +
                                 " was lost by its holder a moment ago and is not given to "
                                 "others before its delay_ms are over"
                           : "lock " + quoted(command.name) + " is held by " +
                                 std::to_string(lock->grants.size()) + " and awaited by " +
                                 std::to_string(lock->line.size()));
    }
    if (s.disk_full) return failed(Code::disk_full, {});
    if ((lock == nullptr && s.locks.all().size() >= limits::locks_max) ||
        s.locks.holders() + s.locks.waiters() >= limits::lock_parties_max) {
        return failed(Code::limit_reached,
                      "at most 100000 locks with 262144 holders and waiters in all");
    }
    if (lock != nullptr && lock->line.size() >= limits::lock_waiters_max)
        return failed(Code::limit_reached, "at most 10000 wait for one lock");
    if (lock == nullptr) lock = &s.locks.make(command.name, command.permits);
    const Locks::Terms terms{wanted.ttl_ms, wanted.delay_ms};
    LockAnswer answer;
    if (free) {
        answer.token = s.write_grant(*lock, command.holder, terms);
    } else {
        answer.ahead = lock->line.size();
        put_lock_party(s.body, RecordType::lock_wait, *lock, command.holder, terms);
        s.locks.add_waiter(*lock, command.holder, terms, s.append(s.body).position);
    }
    s.locks.attach(*lock, command.holder, command.session, command.request);
    s.reply(s.last_gate, command.session, command.request, answer);
}

void Engine::State::refuse_unlock(SessionId session, std::uint64_t request, std::string_view name,
                                  std::string_view holder) {
    fail(session, request, Code::lock_not_held,
         "holder " + quoted(holder) + " does not have lock " + quoted(name) +
             " under this token and on this connection; nothing was changed");
}

void Engine::unlock(SessionId session, std::uint64_t request, std::string_view name,
                    std::string_view holder, Position token, Now now) {
    State& s = *state_;
    s.see(now);
    Locks::Lock* lock = s.locks.find(name);
    const auto found = lock == nullptr ? Locks::Parties::iterator{} : lock->parties.find(holder);
    if (lock == nullptr || found == lock->parties.end())
        return s.refuse_unlock(session, request, name, holder);
    Locks::Party& party = found->second;
    const bool elsewhere = party.session != 0 && party.session != session;
    if (elsewhere || (token != 0 && (!party.holds || party.at != token)))
        return s.refuse_unlock(session, request, name, holder);
    if (party.holds) {
        s.write_end(*lock, party, Locks::End::released, now);
    } else {
        s.write_leave(*lock, party);
        // If it was first and away, who comes behind it waited for nothing else.
        s.serve_lock(std::string(name), now);
    }
    s.reply(s.last_gate, session, request, Plain{});
}

void Engine::force_unlock(SessionId session, std::uint64_t request, std::string_view name,
                          Position token, Now now) {
    State& s = *state_;
    s.see(now);
    const Locks::Lock* known = s.locks.find(name);
    if (known == nullptr)
        return s.fail(session, request, Code::no_such_lock,
                      "nobody holds or awaits lock " + quoted(name));
    std::vector<Position> tokens;
    for (const auto& [held, party] : known->grants) {
        if (token == 0 || token == held) tokens.push_back(held);
    }
    if (tokens.empty())
        return s.fail(session, request, Code::lock_not_held,
                      "nobody holds lock " + quoted(name) +
                          (token == 0 ? "" : " under token " + std::to_string(token)));
    for (const Position held : tokens) {
        Locks::Lock* lock = s.locks.find(name);
        s.write_end(*lock, lock->grants.find(held)->second->second, Locks::End::forced, now);
    }
    s.reply(s.last_gate, session, request, CountAnswer{tokens.size()});
}

void Engine::renew_lock(SessionId session, std::uint64_t request, std::string_view name,
                        std::string_view holder, Position token, Now now) {
    State& s = *state_;
    s.see(now);
    Locks::Lock* lock = s.locks.find(name);
    const auto found = lock == nullptr ? Locks::Parties::iterator{} : lock->parties.find(holder);
    if (lock == nullptr || found == lock->parties.end() || !found->second.holds ||
        found->second.at != token) {
        return s.fail(session, request, Code::lock_not_held,
                      "holder " + quoted(holder) + " does not hold lock " + quoted(name) +
                          " under token " + std::to_string(token));
    }
    s.locks.attach(*lock, holder, session, 0);
    const std::uint64_t ttl_ms =
        found->second.terms.ttl_ms / (FERRY_PLANTED("engine-lock-given-away-too-early") ? 8 : 1);
    s.locks.set_deadline(*lock, holder, now.mono.ns + ttl_ms * ns_per_ms);
    s.reply(token, session, request, Plain{});
}

void Engine::State::look_at_locks(Now now) {
    for (std::size_t looked_at = 0; looked_at < looked_at_max; ++looked_at) {
        const auto alarm = locks.take_alarm(now.mono);
        if (!alarm) return;
        Locks::Lock* lock = locks.find(alarm->lock);
        if (lock == nullptr) continue;
        if (alarm->delay_of != 0) {
            put_lock_open(body, *lock, alarm->delay_of);
            append(body);
            lock->delays.find(alarm->delay_of)->second.deadline_ns = 0;
            if (locks.open(*lock, alarm->delay_of)) serve_lock(alarm->lock, now);
            continue;
        }
        Locks::Party& party = lock->parties.find(alarm->holder)->second;
        party.deadline_ns = 0;  // its alarm is taken
        if (party.holds) {
            write_end(*lock, party, Locks::End::lost, now);
            continue;
        }
        ++totals.lock_places_lost;
        write_leave(*lock, party);
        serve_lock(alarm->lock, now);
    }
}

std::optional<LockView> Engine::lock(std::string_view name, Now now) const {
    const Locks::Lock* lock = state_->locks.find(name);
    if (lock == nullptr) return std::nullopt;
    return state_->locks.view(*lock, now.mono, true);
}

std::vector<LockView> Engine::locks(std::string_view after, std::size_t most, Now now) const {
    std::vector<LockView> out;
    const Locks::Map& all = state_->locks.all();
    for (auto at = all.upper_bound(after); at != all.end() && out.size() < most; ++at)
        out.push_back(state_->locks.view(at->second, now.mono, false));
    return out;
}

}  // namespace ferry::engine
