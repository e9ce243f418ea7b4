#include "locks.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;

bool sound(std::uint64_t permits) {
    return permits >= 1 && permits <= limits::lock_permits_max;
}
bool sound(const Locks::Terms& terms) {
    return terms.ttl_ms >= limits::lock_ttl_ms_min && terms.ttl_ms <= limits::lock_ttl_ms_max &&
           terms.delay_ms <= limits::lock_delay_ms_max;
}
bool sound_holder(std::string_view holder) {
    return !holder.empty() && holder.size() <= limits::short_text_bytes_max;
}
Locks::Terms get_terms(Reader& in) {
    Locks::Terms terms;
    terms.ttl_ms = in.varint();
    terms.delay_ms = in.varint();
    if (!sound(terms)) in.reject();
    return terms;
}
void put_terms(std::vector<std::byte>& out, const Locks::Terms& terms) {
    put_varint(out, terms.ttl_ms);
    put_varint(out, terms.delay_ms);
}
void put_head(std::vector<std::byte>& out, RecordType type, const Locks::Lock& lock) {
    out.clear();
    put_u8(out, static_cast<std::uint8_t>(type));
    put_text(out, lock.name);
}
std::uint64_t left_ms(std::uint64_t deadline_ns, Instant now) {
    if (deadline_ns == 0) return 0;
    return deadline_ns > now.ns ? (deadline_ns - now.ns) / ns_per_ms + 1 : 1;
}

}  // namespace

std::string complaint_of(const LockCommand& command) {
    if (!wire::valid_name(command.name)) return "a lock's name has 1 to 255 of a-z A-Z 0-9 . _ -";
    if (!sound_holder(command.holder)) return "a holder's id has 1 to 255 bytes";
    if (!sound(command.permits)) return "a lock has 1 to 1024 permits";
    if (!sound(Locks::Terms{command.ttl_ms, command.delay_ms}))
        return "a lock's ttl_ms is 1000 to 86400000 (a day), its delay_ms 0 to 600000";
    return {};
}

// ---- records ----

void put_lock_party(std::vector<std::byte>& out, RecordType type, const Locks::Lock& lock,
                    std::string_view holder, const Locks::Terms& terms) {
    put_head(out, type, lock);
    put_text(out, holder);
    put_terms(out, terms);
    put_varint(out, lock.permits);
}
void put_lock_end(std::vector<std::byte>& out, const Locks::Lock& lock, std::string_view holder,
                  Position token, Locks::End how) {
    put_head(out, RecordType::lock_end, lock);
    put_text(out, holder);
    put_varint(out, token);
    put_u8(out, static_cast<std::uint8_t>(how));
}
void put_lock_leave(std::vector<std::byte>& out, const Locks::Lock& lock, std::string_view holder) {
    put_head(out, RecordType::lock_leave, lock);
    put_text(out, holder);
}
void put_lock_open(std::vector<std::byte>& out, const Locks::Lock& lock, Position token) {
    put_head(out, RecordType::lock_open, lock);
    put_varint(out, token);
}

bool Locks::replay(RecordType type, Position at, Bytes body) {
    Reader in(body);
    in.u8();
    const std::string name(in.text());
    Lock* lock = find(name);
    if (type == RecordType::lock_open) {
        const Position token = in.varint();
        if (!in.ok() || !in.at_end() || lock == nullptr || lock->delays.count(token) == 0)
            return false;
        open(*lock, token);
        return true;
    }
    const std::string holder(in.text());
    if (!in.ok() || !sound_holder(holder) || !wire::valid_name(name)) return false;
    const auto found = lock == nullptr ? Parties::iterator{} : lock->parties.find(holder);
    const bool known = lock != nullptr && found != lock->parties.end();
    if (type == RecordType::lock_wait || type == RecordType::lock_grant) {
        const Terms terms = get_terms(in);
        const std::uint64_t permits = in.varint();
        if (!in.ok() || !in.at_end() || !sound(permits)) return false;
        if (lock == nullptr) lock = &make(name, permits);
        if (lock->permits != permits) return false;
        if (type == RecordType::lock_wait) {
            if (known) return false;
            add_waiter(*lock, holder, terms, at);
            return true;
        }
        if ((known && found->second.holds) || !lock->has_room()) return false;
        grant(*lock, holder, terms, at);
        return true;
    }
    if (type == RecordType::lock_leave) {
        if (!in.at_end() || !known || found->second.holds) return false;
        end(*lock, holder, End::released);
        return true;
    }
    const Position token = in.varint();
    const std::uint8_t how = in.u8();
    if (!in.ok() || !in.at_end() || how > static_cast<std::uint8_t>(End::forced)) return false;
    if (!known || !found->second.holds || found->second.at != token) return false;
    end(*lock, holder, static_cast<End>(how));
    return true;
}

void Locks::save(std::vector<std::byte>& out) const {
    put_varint(out, all_.size());
    for (const auto& [name, lock] : all_) {
        put_text(out, name);
        put_varint(out, lock.permits);
        for (const auto* group : {&lock.grants, &lock.line}) {
            put_varint(out, group->size());
            for (const auto& [at, party] : *group) {
                put_text(out, party->first);
                put_varint(out, at);
                put_terms(out, party->second.terms);
            }
        }
        put_varint(out, lock.delays.size());
        for (const auto& [token, delay] : lock.delays) {
            put_varint(out, token);
            put_varint(out, delay.ms);
        }
    }
}

bool Locks::load(Reader& in) {
    for (std::size_t count = in.count(5); count > 0 && in.ok(); --count) {
        const std::string name(in.text());
        const std::uint64_t permits = in.varint();
        if (!in.ok() || !wire::valid_name(name) || !sound(permits) || find(name) != nullptr)
            return false;
        Lock& lock = make(name, permits);
        for (const bool holds : {true, false}) {
            for (std::size_t parties = in.count(5); parties > 0 && in.ok(); --parties) {
                const std::string holder(in.text());
                const Position at = in.varint();
                const Terms terms = get_terms(in);
                if (!in.ok() || !sound_holder(holder) || lock.parties.count(holder) != 0 ||
                    lock.grants.count(at) != 0 || lock.line.count(at) != 0) {
                    return false;
                }
                if (holds && !lock.has_room()) return false;
                if (holds) {
                    grant(lock, holder, terms, at);
                } else {
                    add_waiter(lock, holder, terms, at);
                }
            }
        }
        for (std::size_t delays = in.count(2); delays > 0 && in.ok(); --delays) {
            const Position token = in.varint();
            const auto ms = in.bounded<std::uint64_t>(limits::lock_delay_ms_max);
            if (!in.ok() || !lock.has_room() || lock.grants.count(token) != 0 ||
                !lock.delays.emplace(token, Delay{ms, 0}).second) {
                return false;
            }
        }
        if (lock.parties.empty() && lock.delays.empty()) return false;
    }
    return in.ok();
}

// ---- what records do ----

Locks::Lock* Locks::find(std::string_view name) {
    const auto at = all_.find(name);
    return at == all_.end() ? nullptr : &at->second;
}
const Locks::Lock* Locks::find(std::string_view name) const {
    const auto at = all_.find(name);
    return at == all_.end() ? nullptr : &at->second;
}

Locks::Lock& Locks::make(std::string_view name, std::uint64_t permits) {
    Lock& lock = all_[std::string(name)];
    lock.name = name;
    lock.permits = permits;
    return lock;
}

Locks::Party& Locks::add_waiter(Lock& lock, std::string_view holder, const Terms& terms,
                                Position at) {
    const auto [place, fresh] = lock.parties.try_emplace(std::string(holder));
    FERRY_ASSERT(fresh, "a holder waits once");
    place->second.terms = terms;
    place->second.at = at;
    lock.line.emplace(at, &*place);
    ++waiters_;
    return place->second;
}

Locks::Party& Locks::grant(Lock& lock, std::string_view holder, const Terms& terms,
                           Position token) {
    const auto [place, fresh] = lock.parties.try_emplace(std::string(holder));
    Party& party = place->second;
    if (!fresh) {
        disarm(party.deadline_ns, party.at);
        party.deadline_ns = 0;
        lock.line.erase(party.at);
        --waiters_;
    }
    party.terms = terms;
    party.at = token;
    party.holds = true;
    lock.grants.emplace(token, &*place);
    ++holders_;
    return party;
}

bool Locks::end(Lock& lock, std::string_view holder, End how) {
    const auto place = lock.parties.find(holder);
    FERRY_ASSERT(place != lock.parties.end(), "who ends was there");
    const Party& party = place->second;
    disarm(party.deadline_ns, party.at);
    forget_session(lock, *place);
    if (party.holds) {
        lock.grants.erase(party.at);
        --holders_;
        if (how != End::released && party.terms.delay_ms != 0)
            lock.delays.emplace(party.at, Delay{party.terms.delay_ms, 0});
    } else {
        lock.line.erase(party.at);
        --waiters_;
    }
    lock.parties.erase(place);
    return drop_if_empty(lock);
}

bool Locks::open(Lock& lock, Position token) {
    const auto delay = lock.delays.find(token);
    disarm(delay->second.deadline_ns, token);
    lock.delays.erase(delay);
    return drop_if_empty(lock);
}

bool Locks::drop_if_empty(Lock& lock) {
    if (!lock.parties.empty() || !lock.delays.empty()) return true;
    all_.erase(all_.find(lock.name));
    return false;
}

// ---- sessions and deadlines ----

void Locks::start(Instant now) {
    alarms_.clear();
    by_session_.clear();
    for (auto& [name, lock] : all_) {
        for (auto& [holder, party] : lock.parties) {
            party.session = 0;
            party.deadline_ns = 0;
            set_deadline(lock, holder, now.ns + party.terms.ttl_ms * ns_per_ms);
        }
        for (auto& [token, delay] : lock.delays) {
            delay.deadline_ns = 0;
            set_delay_deadline(lock, token, now.ns + delay.ms * ns_per_ms);
        }
    }
}

void Locks::attach(Lock& lock, std::string_view holder, SessionId session, std::uint64_t request) {
    const auto place = lock.parties.find(holder);
    if (place->second.session != session) {
        forget_session(lock, *place);
        place->second.session = session;
        by_session_[session].emplace(lock.name, place->first);
    }
    if (request != 0) place->second.request = request;
}

void Locks::forget_session(const Lock& lock, const Parties::value_type& party) {
    const auto mine = by_session_.find(party.second.session);
    if (mine == by_session_.end()) return;
    mine->second.erase({lock.name, party.first});
    if (mine->second.empty()) by_session_.erase(mine);
}

void Locks::disarm(std::uint64_t deadline_ns, Position at) {
    if (deadline_ns != 0) alarms_.erase({deadline_ns, at});
}

void Locks::set_deadline(Lock& lock, std::string_view holder, std::uint64_t deadline_ns) {
    const auto place = lock.parties.find(holder);
    Party& party = place->second;
    disarm(party.deadline_ns, party.at);
    party.deadline_ns = deadline_ns;
    if (deadline_ns != 0)
        alarms_.emplace(std::pair(deadline_ns, party.at), Alarm{lock.name, place->first, 0});
}

void Locks::set_delay_deadline(Lock& lock, Position token, std::uint64_t deadline_ns) {
    Delay& delay = lock.delays.find(token)->second;
    disarm(delay.deadline_ns, token);
    delay.deadline_ns = deadline_ns;
    alarms_.emplace(std::pair(deadline_ns, token), Alarm{lock.name, {}, token});
}

// A holder keeps what it has until its time runs out, as if it had only fallen silent; so does a
// waiter, whose time begins now.
void Locks::detach_all(SessionId session, Instant now) {
    const auto mine = by_session_.find(session);
    if (mine == by_session_.end()) return;
    for (const auto& [name, holder] : mine->second) {
        Lock& lock = *find(name);
        Party& party = lock.parties.find(holder)->second;
        party.session = 0;
        if (!party.holds) set_deadline(lock, holder, now.ns + party.terms.ttl_ms * ns_per_ms);
    }
    by_session_.erase(mine);
}

std::optional<Locks::Alarm> Locks::take_alarm(Instant now) {
    if (alarms_.empty() || alarms_.begin()->first.first > now.ns) return std::nullopt;
    return std::move(alarms_.extract(alarms_.begin()).mapped());
}

LockView Locks::view(const Lock& lock, Instant now, bool whole) const {
    LockView out;
    out.name = lock.name;
    out.permits = lock.permits;
    out.holding = lock.grants.size();
    out.waiting = lock.line.size();
    out.delayed = lock.delays.size();
    for (const auto& [token, delay] : lock.delays) {
        const std::uint64_t left = left_ms(delay.deadline_ns, now);
        if (out.delay_left_ms == 0 || left < out.delay_left_ms) out.delay_left_ms = left;
    }
    if (!whole) return out;
    const auto add = [&](const auto& from, std::vector<LockPartyView>& to) {
        for (const auto& [at, party] : from) {
            if (to.size() == limits::lock_parties_shown_max) return;
            const Party& p = party->second;
            to.push_back({party->first, p.session, p.holds ? at : 0, p.terms.ttl_ms,
                          left_ms(p.deadline_ns, now)});
        }
    };
    add(lock.grants, out.holders);
    add(lock.line, out.waiters);
    return out;
}

}  // namespace ferry::engine
