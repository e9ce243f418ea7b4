#include "ledger.hpp"

#include <algorithm>

namespace ferry::history {
namespace {

std::uint64_t place_key(std::uint32_t queue, std::uint64_t position) {
    return position ^ (std::uint64_t{queue} * 0x9E37'79B9'7F4A'7C15ULL);
}

At next_after(const std::vector<At>& sorted, At from) {
    const auto found = std::upper_bound(sorted.begin(), sorted.end(), from);
    return found == sorted.end() ? never : *found;
}

void add_position(Message& message, std::uint64_t position, At at) {
    if (position == 0) return;
    for (const auto& [known, seen] : message.positions) {
        if (known == position) return;
    }
    message.positions.emplace_back(position, at);
}

}  // namespace

bool Message::may_be_acked() const {
    return std::any_of(leases.begin(), leases.end(),
                       [](const Lease& lease) { return lease.may_be_acked; });
}

At Message::settled() const {
    At at = std::min(expired, dead);
    for (const Lease& lease : leases) {
        if (lease.may_be_acked) at = std::min(at, lease.asked);
    }
    // What was given back and never came again may have been refused for good.
    if (!leases.empty()) at = std::min(at, leases.back().returned);
    return at;
}

At Message::let_pass() const {
    At at = settled();
    for (const Lease& lease : leases) at = std::min(at, lease.undone);
    return at;
}

Ledger::Ledger(const History& history, const Rules& rules) : history_(history), rules_(rules) {
    times_.reserve(history.size());
    std::uint64_t latest = 0;
    for (At at = 0; at < history.size(); ++at) {
        latest = std::max(latest, history[at].time_ns);
        times_.push_back(latest);
        note(history[at], at);
    }
    finish_leases();
    bury();
}

void Ledger::note(const Event& event, At at) {
    switch (event.what) {
        case What::publish:
            return note_publish(event, at);
        case What::commit:
            return note_commit(event, at);
        case What::deliver: {
            Message& of = message(event.queue, event.id);
            add_position(of, event.position, at);
            if (event.position != 0) {
                by_position_.emplace(place_key(event.queue, event.position),
                                     static_cast<std::uint32_t>(&of - messages_.data()));
            }
            Lease lease;
            lease.granted = at;
            lease.token = event.lease;
            lease.position = event.position;
            lease.payload = event.payload;
            lease.holder = event.process;
            lease.attempt = event.attempt;
            lease.redelivered = event.redelivered;
            of.leases.push_back(lease);
            return;
        }
        case What::ack:
        case What::nack:
        case What::reject:
        case What::lease_ended:
            return note_settle(event, at);
        case What::poll:
            return note_poll(event, at);
        case What::purge:
            return note_purge(event, at);
        case What::effect:
            if (event.type == Type::ok) message(event.queue, event.id).effects.push_back(at);
            return;
        case What::expire:
            if (Message* const of = named(event)) of->expired = std::min(of->expired, at);
            return;
        case What::dead_letter:
            if (Message* const of = named(event)) of->dead = std::min(of->dead, at);
            return;
        case What::crash:
            crashes_[event.process].push_back(at);
            if (rules_.brokers.count(event.process) != 0) broker_crashes_.push_back(at);
            return;
        case What::drained:
            drained_[event.queue] = at;
            return;
        case What::durable:
            durable_.emplace_back(
                at, std::max(event.position, durable_.empty() ? 0 : durable_.back().second));
            return;
        case What::saga_begin:
        case What::saga_step:
        case What::saga_undo:
        case What::saga_end:
        case What::lock:
        case What::unlock:
        case What::depth:
            return;
    }
}

void Ledger::note_publish(const Event& event, At at) {
    Message& of = message(event.queue, event.id);
    of.asked = true;
    if (event.key != 0) of.key = event.key;
    if (event.payload != 0) of.payload = event.payload;
    note_life(event, of);
    if (Transaction* const group = transaction(event); group != nullptr) {
        const auto index = static_cast<std::uint32_t>(&of - messages_.data());
        if (event.type == Type::invoke) group->publishes.push_back(index);
    }
    if (event.type == Type::invoke) {
        ++of.tries;
        // Whoever tries it once more, in vain, did not give it its place.
        if (of.confirmed == never) of.producer = event.process;
        of.asked_first = std::min(of.asked_first, at);
        // What is asked again after its confirm lies where it was confirmed.
        if (of.confirmed == never) of.asked_last = at;
        ++of.open;
        return;
    }
    of.asked_first = std::min(of.asked_first, at);  // an answer whose question nobody noted
    if (of.open != 0) --of.open;
    if (event.type == Type::ok) {
        if (of.confirmed == never) of.producer = event.process;
        of.confirmed = std::min(of.confirmed, at);
        add_position(of, event.position, at);
    }
    if (event.type == Type::info) of.unsettled = true;
}

void Ledger::note_commit(const Event& event, At at) {
    Message& of = message(event.queue, event.id);
    of.commit_asked = std::min(of.commit_asked, at);
    of.application = event.process;
    if (event.key != 0) of.key = event.key;
    if (event.payload != 0) of.payload = event.payload;
    note_life(event, of);
    if (event.type == Type::ok) of.committed = std::min(of.committed, at);
    if (event.type == Type::fail) of.rolled_back = std::min(of.rolled_back, at);
}

void Ledger::note_settle(const Event& event, At at) {
    Lease* const lease = lease_of(event);
    if (lease == nullptr) return;
    if (event.what == What::lease_ended) {
        lease->ended = std::min(lease->ended, at);
        return;
    }
    lease->asked = std::min(lease->asked, at);
    if (Transaction* const group = transaction(event);
        group != nullptr && event.type == Type::invoke) {
        const Message* const of = named(event);
        group->settled.emplace_back(static_cast<std::uint32_t>(of - messages_.data()),
                                    lease->token);
    }
    if (event.what == What::reject) lease->rejected = true;
    if (event.what != What::nack) lease->let_go = true;
    if (event.what != What::ack) {
        if (event.type != Type::fail) lease->returned = std::min(lease->returned, at);
        return;
    }
    lease->may_be_acked = event.type != Type::fail;
    if (event.type == Type::ok) lease->acked = std::min(lease->acked, at);
}

void Ledger::note_life(const Event& event, Message& of) {
    if (event.expires_ns == 0) return;
    of.expires_ns = std::max(of.expires_ns, event.expires_ns);
    of.expires_first_ns = of.expires_first_ns == 0
                              ? event.expires_ns
                              : std::min(of.expires_first_ns, event.expires_ns);
}

Transaction* Ledger::transaction(const Event& event) {
    if (event.group == 0) return nullptr;
    const auto [at, fresh] = transaction_of_.emplace(event.group, transactions_.size());
    if (fresh) transactions_.push_back({event.group, false, false, {}, {}});
    Transaction& of = transactions_[at->second];
    if (event.type == Type::ok) of.done = true;
    if (event.type == Type::fail) of.refused = true;
    return &of;
}

// Nobody says that a message died: it is seen where dead letters go.
void Ledger::bury() {
    if (rules_.dead_letter_queues.empty()) return;
    for (Message& message : messages_) {
        if (rules_.dead_letter_queues.count(message.queue) != 0) continue;
        for (const std::uint32_t place : places(message.id)) {
            const Message& there = messages_[place];
            if (rules_.dead_letter_queues.count(there.queue) == 0) continue;
            if (there.attempted()) continue;  // somebody published it there
            for (const auto& [position, seen] : there.positions) {
                message.dead = std::min(message.dead, seen);
                message.dead_position = position;
            }
        }
    }
}

void Ledger::note_poll(const Event& event, At at) {
    if (event.type == Type::invoke) {
        open_polls_[event.process] = at;
        return;
    }
    const auto open = open_polls_.find(event.process);
    if (open == open_polls_.end()) return;
    if (event.type == Type::ok && event.id == 0) polls_.push_back({open->second, at, event.queue});
    open_polls_.erase(open);
}

void Ledger::note_purge(const Event& event, At at) {
    // From when it was asked until it was answered it may take what is there.
    if (event.type != Type::fail) purges_[event.queue].push_back(at);
}

void Ledger::finish_leases() {
    for (Message& message : messages_) {
        for (Lease& lease : message.leases) {
            const auto died = crashes_.find(lease.holder);
            if (died != crashes_.end()) {
                lease.ended = std::min(lease.ended, next_after(died->second, lease.granted));
            }
            lease.ended = std::min(lease.ended, next_after(broker_crashes_, lease.granted));
            lease.live_until = std::min(lease.asked, lease.ended);
            lease.live_until_ns = time(lease.live_until);
            if (rules_.lease_ns != 0) {
                const std::uint64_t over = time(lease.granted) + rules_.lease_ns -
                                           std::min(rules_.tolerance_ns, rules_.lease_ns);
                lease.live_until = std::min(lease.live_until, at_time(over));
                lease.live_until_ns = std::min(lease.live_until_ns, over);
            }
        }
        // Deliveries are heard of in another order than they were made: tokens tell.
        std::stable_sort(message.leases.begin(), message.leases.end(),
                         [](const Lease& a, const Lease& b) { return a.token < b.token; });
        find_undone(message);
    }
}

void Ledger::find_undone(Message& message) {
    for (std::size_t i = 0; i + 1 < message.leases.size(); ++i) {
        Lease& lease = message.leases[i];
        if (lease.let_go && broker_crashes(lease.asked, message.leases[i + 1].granted) != 0) {
            lease.undone = lease.asked;
        }
    }
}

Message& Ledger::message(std::uint32_t queue, std::uint64_t id) {
    std::vector<std::uint32_t>& places = by_id_[id];
    for (const std::uint32_t place : places) {
        if (messages_[place].queue == queue) return messages_[place];
    }
    places.push_back(static_cast<std::uint32_t>(messages_.size()));
    messages_.emplace_back();
    messages_.back().id = id;
    messages_.back().queue = queue;
    return messages_.back();
}

Message* Ledger::named(const Event& event) {
    if (event.id != 0) return &message(event.queue, event.id);
    const auto found = by_position_.find(place_key(event.queue, event.position));
    return found == by_position_.end() ? nullptr : &messages_[found->second];
}

Lease* Ledger::lease_of(const Event& event) {
    Message* const of = named(event);
    if (of == nullptr) return nullptr;
    for (auto lease = of->leases.rbegin(); lease != of->leases.rend(); ++lease) {
        if (lease->token == event.lease && (lease->token != 0 || lease->holder == event.process)) {
            return &*lease;
        }
    }
    return nullptr;
}

const std::vector<std::uint32_t>& Ledger::places(std::uint64_t id) const {
    static const std::vector<std::uint32_t> none;
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? none : found->second;
}

At Ledger::drained(std::uint32_t queue) const {
    At latest = never;
    for (const std::uint32_t which : {queue, 0U}) {
        const auto found = drained_.find(which);
        if (found == drained_.end()) continue;
        latest = latest == never ? found->second : std::max(latest, found->second);
    }
    return latest;
}

At Ledger::purged(std::uint32_t queue, At from) const {
    const auto found = purges_.find(queue);
    return found == purges_.end() ? never : next_after(found->second, from);
}

std::size_t Ledger::broker_crashes(At from, At to) const {
    const auto first = std::upper_bound(broker_crashes_.begin(), broker_crashes_.end(), from);
    const auto last = std::lower_bound(broker_crashes_.begin(), broker_crashes_.end(), to);
    return first < last ? static_cast<std::size_t>(last - first) : 0;
}

At Ledger::broker_crash(At from) const {
    return next_after(broker_crashes_, from == never ? 0 : from);
}

At Ledger::at_time(std::uint64_t time_ns) const {
    const auto found = std::lower_bound(times_.begin(), times_.end(), time_ns);
    return found == times_.end() ? never : static_cast<At>(found - times_.begin());
}

std::uint64_t Ledger::time(At at) const {
    return at == never ? std::numeric_limits<std::uint64_t>::max() : times_[at];
}

bool Ledger::excused(const Message& message, At drained) const {
    if (message.dead != never) return true;
    // What expires where dead letters are kept has to turn up there.
    if (rules_.dead_letter_from.count(message.queue) == 0) {
        if (message.expired != never) return true;
        if (message.expires_ns != 0 && message.expires_ns <= time(drained) + rules_.tolerance_ns) {
            return true;
        }
        const At begun = std::min(message.asked_first, message.commit_asked);
        if (message.expires_ns != 0 && rules_.wall_jumps && broker_crash(begun) != never)
            return true;
    }
    for (const std::uint32_t grave : rules_.dead_letter_queues) {
        if (purged(grave, 0) != never) return true;
    }
    const At from = std::min(message.asked_first, message.commit_asked);
    if (purged(message.queue, from == never ? 0 : from) != never) return true;
    for (const std::uint32_t place : places(message.id)) {
        const Message& there = messages_[place];
        if (rules_.dead_letter_queues.count(there.queue) != 0 &&
            rules_.dead_letter_queues.count(message.queue) == 0 &&
            (!there.leases.empty() || !there.effects.empty())) {
            return true;
        }
    }
    return false;
}

}  // namespace ferry::history
