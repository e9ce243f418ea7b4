// Messages that go from one queue to another: dead letters, and what an operator moves.
//
//   1 `leave`: the messages are taken from whoever would get them next, with the reason. From then
//     on they are nobody's but this file's, also after a crash.
//   2 their bytes are read, headers and route are made
//   3 one record stores them in their new queues and takes them off the old one
//
// A crash before 3 begins again at 2. Where no queue would take them they stay parked, in sight,
// and go on as soon as a queue is there.

#include <algorithm>

#include "death_headers.hpp"
#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t loads_max = 8;                    // per queue, at a time
constexpr std::size_t transfer_bytes_max = 512U << 10;  // of messages in one record, about
constexpr std::size_t targets_per_transfer_max = 64U << 10;

}  // namespace

std::string_view name_of(LeaveReason reason) {
    switch (reason) {
        case LeaveReason::rejected:
            return "rejected";
        case LeaveReason::max_deliveries:
            return "max_deliveries";
        case LeaveReason::expired:
            return "expired";
        case LeaveReason::length_limit:
            return "length_limit";
        case LeaveReason::moved:
            return "moved";
    }
    return "";
}

// ---- step 1 ----

void Engine::State::apply_leave(Queue& queue, const Extent& extent, const Leaving& like) {
    Extras& x = extras_of(queue);
    Leaving leaving = like;
    leaving.extent = extent;
    const bool fresh = x.leaving.emplace(extent.first, std::move(leaving)).second;
    if (!fresh) {
        replay_broken = true;  // a checkpoint that names a message twice
        return;
    }
    if (queue.gate != nullptr) queue.gate->gone(extent);
    x.leaving_messages += extent.count;
    x.outbound.insert(extent.record());
}

void Engine::State::leave(Queue& queue, std::span<const std::pair<Extent, std::uint32_t>> parts_out,
                          LeaveReason reason, std::string_view target) {
    while (!parts_out.empty()) {
        const auto some = parts_out.first(std::min(parts_out.size(), extents_per_record_max));
        parts_out = parts_out.subspan(some.size());
        Leaving like;
        like.reason = reason;
        like.wall_ms = last_wall_ms;
        like.target = target;
        body.clear();
        put_u8(body, static_cast<std::uint8_t>(RecordType::leave));
        put_varint(body, queue.id);
        put_u8(body, static_cast<std::uint8_t>(reason));
        put_varint(body, like.wall_ms);
        put_text(body, like.target);
        put_varint(body, some.size());
        Position end = 0;
        for (const auto& [extent, attempts] : some) {
            put_varint(body, attempts);
            put_extent(body, extent, end);
            end = extent.end();
        }
        append(body);
        for (const auto& [extent, attempts] : some) {
            like.attempts = attempts;
            apply_leave(queue, extent, like);
        }
    }
    mark_dirty(queue);
}

// Takes out what leaves already, to let it leave again with another reason. In replay an entry may
// be larger than what is taken: it was divided when its messages met different fates, which no
// record says.
bool Engine::State::pick_leaving(Queue& queue, const Extent& extent) {
    if (queue.extras == nullptr) return false;
    auto& leaving = queue.extras->leaving;
    auto at = leaving.upper_bound(extent.first);
    if (at == leaving.begin()) return false;
    --at;
    const Leaving whole = at->second;
    if (extent.record() != whole.extent.record() || extent.end() > whole.extent.end()) return false;
    leaving.erase(at);
    const auto keep = [&](std::uint32_t skip, std::uint32_t count) {
        if (count == 0) return;
        Leaving part = whole;
        part.extent = part_of(whole.extent, skip, count);
        leaving.emplace(part.extent.first, std::move(part));
    };
    const auto before = static_cast<std::uint32_t>(extent.first - whole.extent.first);
    keep(0, before);
    keep(before + extent.count, whole.extent.count - before - extent.count);
    queue.extras->leaving_messages -= extent.count;
    return true;
}

bool Engine::State::replay_leave(Bytes bytes) {
    Reader in(bytes);
    in.u8();
    Queue* queue = queue_of(in.bounded<QueueId>(UINT32_MAX));
    Leaving like;
    const std::uint8_t reason = in.u8();
    like.reason = static_cast<LeaveReason>(reason);
    like.wall_ms = in.varint();
    like.target = in.text();
    const std::size_t count = in.count(6);
    if (!in.ok() || reason == 0 || reason > static_cast<std::uint8_t>(LeaveReason::moved))
        return false;
    Position end = 0;
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        like.attempts = in.bounded<std::uint32_t>(UINT32_MAX - 1);
        const Extent extent = get_extent(in, end);
        end = extent.end();
        if (!in.ok() || !plausible(extent)) return false;
        if (queue == nullptr) continue;
        if (!pick_leaving(*queue, extent) && !pick(*queue, extent, nullptr)) return false;
        if (FERRY_PLANTED("engine-dead-letter-lost-by-a-restart")) continue;
        apply_leave(*queue, extent, like);
    }
    return in.ok() && in.at_end();
}

// ---- step 2 ----

void Engine::State::pump_leaving(Queue& queue) {
    Extras& x = *queue.extras;
    if (disk_full) return;
    for (const Position record_at : x.outbound) {
        if (x.loading.size() >= loads_max) return;
        if (record_at >= durable) return await_log(queue, record_at);
        if (x.loading.insert(record_at).second) effects.push_back(LoadBody{queue.id, record_at});
    }
}

void Engine::State::park(Queue& queue, Leaving& leaving) {
    if (leaving.parked) return;
    leaving.parked = true;
    queue.extras->parked += leaving.extent.count;
    queue.extras->parked_generation = topology.generation();
    parked_queues.insert(queue.id);
}

void Engine::State::unpark(Queue& queue) {
    Extras& x = *queue.extras;
    for (auto& [first, leaving] : x.leaving) {
        if (!leaving.parked) continue;
        leaving.parked = false;
        x.outbound.insert(leaving.extent.record());
    }
    x.parked = 0;
    parked_queues.erase(queue.id);
    mark_dirty(queue);
}

void Engine::State::retry_parked() {
    const std::vector<QueueId> ids(parked_queues.begin(), parked_queues.end());
    for (const QueueId id : ids) {
        Queue* queue = queue_of(id);
        if (queue == nullptr) {
            parked_queues.erase(id);
        } else if (queue->extras->parked_generation != topology.generation()) {
            unpark(*queue);
        }
    }
}

void Engine::body_unreadable(QueueId id, Position record) {
    Queue* queue = state_->queue_of(id);
    if (queue == nullptr || queue->extras == nullptr) return;
    Extras& x = *queue->extras;
    if (x.loading.erase(record) == 0) return;
    x.outbound.erase(record);
    for (auto at = x.leaving.lower_bound(record);
         at != x.leaving.end() && at->second.extent.record() == record; ++at) {
        state_->park(*queue, at->second);
    }
}

void Engine::body_loaded(QueueId id, Position record, Bytes body, Now now) {
    State& s = *state_;
    s.see(now);
    Queue* queue = s.queue_of(id);
    if (queue == nullptr || queue->extras == nullptr) return;
    if (queue->extras->loading.erase(record) == 0) return;
    if (s.disk_full) return;  // asked for again when there is space
    queue->extras->outbound.erase(record);
    s.send_off(*queue, record, body, now);
    if (Queue* still = s.queue_of(id)) s.mark_dirty(*still);
}

// ---- step 3 ----

/// One record in the making.
struct Engine::State::Transfer {
    std::vector<std::byte> messages;
    std::vector<Span> spans;  // what the source gives up
    std::vector<std::pair<Extent, LeaveReason>> parts;
};

bool Engine::State::route_leaving(Queue& source, const Leaving& leaving,
                                  const wire::MessageView& message, wire::Message& out,
                                  std::vector<QueueId>& targets) {
    targets.clear();
    DeathNotes notes;
    if (!open_letter(message, out, notes)) return false;
    if (leaving.reason == LeaveReason::moved) {
        const std::string& wanted = leaving.target.empty() ? notes.queue : leaving.target;
        const Queue* target = queue_named(wanted);
        if (target == nullptr) return false;
        if (leaving.target.empty()) {
            // Back where it came from, looking as it did there.
            out.exchange = notes.exchange;
            out.routing_key = notes.routing_key;
        } else {
            note_move(out, source.name);
        }
        targets.push_back(target->id);
        return true;
    }
    const QueuePolicy& policy = source.options.policy;
    if (!policy.dead_letters() || notes.count >= limits::deaths_max) return false;
    note_death(out, notes,
               {source.name, name_of(leaving.reason), leaving.wall_ms, leaving.attempts});
    out.exchange = policy.dead_letter_exchange;
    if (!policy.dead_letter_key.empty()) out.routing_key = policy.dead_letter_key;
    if (leaving.reason == LeaveReason::expired) out.properties.expires_at_ms = 0;
    return true;
}

void Engine::State::write_transfer(Queue& source, Transfer& transfer, Now now) {
    if (transfer.spans.empty()) return;
    record.wall_ms = now.wall_ms;
    record.acks.push_back({source.id, std::move(transfer.spans)});
    head.clear();
    encode_transaction_head(head, record);
    const Bytes both[] = {head, transfer.messages};
    const Journal::Place place = append(both);
    for (const auto& [extent, reason] : transfer.parts) {
        live.remove(extent.record(), extent.count, extent.bytes);
        if (reason == LeaveReason::moved) continue;
        source.extras->dead_lettered += extent.count;
        totals.dead_lettered += extent.count;
    }
    const Bytes messages(transfer.messages);
    apply_publish(place, record, std::span(&messages, 1));
    for (const Target& target : record.targets) {
        if (Queue* queue = queue_of(target.queue)) mark_dirty(*queue);
    }
    record.clear();
    transfer = Transfer{};
}

// Appends one message to the transfer; false: no queue takes it.
bool Engine::State::add_to_transfer(Queue& source, Transfer& transfer, const Leaving& leaving,
                                    const Extent& part, const wire::MessageView& message) {
    wire::Message letter;
    std::vector<QueueId> targets;
    if (!route_leaving(source, leaving, message, letter, targets)) return false;
    const std::size_t before = transfer.messages.size();
    write_letter(transfer.messages, letter, message);
    wire::Cursor written(Bytes(transfer.messages).subspan(before));
    wire::MessageView sent;
    const bool fits = wire::read_message(written, sent);
    if (fits && targets.empty()) {
        const Route& route = topology.route(sent);
        if (!route.too_many && !route.exchange_internal) targets = route.queues;
    }
    if (!fits || targets.empty()) {
        transfer.messages.resize(before);
        return false;
    }
    const auto bytes_added = static_cast<std::uint32_t>(transfer.messages.size() - before);
    const auto targets_first = static_cast<std::uint32_t>(record.targets.size());
    for (const QueueId id : targets) record.targets.push_back({id, false});
    Run run{1, bytes_added, targets_first, static_cast<std::uint32_t>(targets.size()), 0, 0, 0, 0};
    run.expires_at = letter.properties.expires_at_ms;
    for (const QueueId id : targets) {
        if (queue_of(id)->options.policy.priorities) run.priority = letter.properties.priority;
    }
    record.runs.push_back(run);
    if (!transfer.spans.empty() &&
        transfer.spans.back().first + transfer.spans.back().count == part.first) {
        ++transfer.spans.back().count;
    } else {
        transfer.spans.push_back({part.first, 1, 0});
    }
    transfer.parts.emplace_back(part, leaving.reason);
    return true;
}

void Engine::State::send_off(Queue& source, Position record_at, Bytes bytes, Now now) {
    Extras& x = *source.extras;
    topology.trim_routes();
    record.clear();
    Transfer transfer;
    std::vector<std::byte> scratch;
    auto at = x.leaving.lower_bound(record_at);
    while (at != x.leaving.end() && at->second.extent.record() == record_at) {
        if (at->second.parked) {
            ++at;
            continue;
        }
        // Message by message: what no queue takes stays behind, parked.
        Leaving entry = at->second;
        at = x.leaving.erase(at);
        const Extent whole = entry.extent;
        const Result<Bytes> all = message_bytes(bytes, whole, 0, whole.count, scratch);
        wire::Cursor cursor(all.ok() ? all.value() : Bytes{});
        for (std::uint32_t i = 0; i < whole.count; ++i) {
            const Extent part = part_of(whole, i, 1);
            wire::MessageView message;
            if (wire::read_message(cursor, message) &&
                add_to_transfer(source, transfer, entry, part, message)) {
                --x.leaving_messages;
            } else {
                entry.extent = part;
                entry.parked = false;
                at = std::next(x.leaving.emplace(part.first, entry).first);
                park(source, std::prev(at)->second);
            }
            if (transfer.messages.size() >= transfer_bytes_max ||
                record.targets.size() >= targets_per_transfer_max) {
                write_transfer(source, transfer, now);
            }
        }
    }
    write_transfer(source, transfer, now);
}

// Replay of a transfer's other half: the source loses what went.
bool Engine::State::give_up(Queue& queue, const Span& span) {
    Position at = span.first;
    const Position end = span.first + span.count;
    while (at < end && queue.extras != nullptr) {
        auto& leaving = queue.extras->leaving;
        auto entry = leaving.upper_bound(at);
        if (entry == leaving.begin()) break;
        --entry;
        const Leaving whole = entry->second;
        const Extent& e = whole.extent;
        if (at >= e.end()) break;
        const auto skip = static_cast<std::uint32_t>(at - e.first);
        const auto count = static_cast<std::uint32_t>(std::min(end, e.end()) - at);
        leaving.erase(entry);
        const auto keep = [&](std::uint32_t from, std::uint32_t n) {
            if (n == 0) return;
            Leaving rest = whole;
            rest.extent = part_of(e, from, n);
            leaving.emplace(rest.extent.first, rest);
        };
        keep(0, skip);
        keep(skip + count, e.count - skip - count);
        const Extent gone = part_of(e, skip, count);
        live.remove(gone.record(), gone.count, gone.bytes);
        queue.extras->leaving_messages -= count;
        at += count;
    }
    if (at == end) return true;
    const auto left = static_cast<std::uint32_t>(end - at);
    account(queue, [&](ReadyQueue& ready) { return ready.cut(at, left, true, span.level); });
    return !queue.ready.broken();
}

}  // namespace ferry::engine
