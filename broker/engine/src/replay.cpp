// From the log back to the state it stands for. Every record changes durable state through the same
// functions as the command that wrote it; what replay cannot know is what was delivered and not
// settled.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::uint8_t checkpoint_version = 3;

Status corrupt(Position at, std::string_view what) {
    return Error{Errc::corrupt, 0, at, what};
}

QueueOptions queue_options(std::uint8_t flags) {
    QueueOptions options;
    options.durable = (flags & 1U) != 0;
    options.exclusive = (flags & 2U) != 0;
    options.auto_delete = (flags & 4U) != 0;
    options.ordered = (flags & queue_flag_ordered) != 0;
    options.single_active = (flags & queue_flag_single_active) != 0;
    return options;
}

}  // namespace

bool Engine::State::replay_topology(RecordType type, Bytes bytes) {
    Reader in(bytes);
    in.u8();
    switch (type) {
        case RecordType::queue_declare: {
            const auto id = in.bounded<QueueId>(UINT32_MAX - 1);
            const std::string name(in.text());
            const std::uint8_t flags = in.u8();
            const std::uint64_t lease = in.varint();
            QueueOptions options = queue_options(flags);
            if ((flags & 8U) != 0) options.policy = get_policy(in);
            if (!in.ok() || queue_of(id) != nullptr || queue_ids.count(name) != 0) return false;
            // Numbers are used again, so they stay small; a wild one would make the table of queues
            // as long as it is large.
            if (id == 0 || id > limits::queues_max) return false;
            make_queue(id, name, options, lease);
            return true;
        }
        case RecordType::queue_delete: {
            Queue* queue = queue_of(in.bounded<QueueId>(UINT32_MAX));
            if (!in.ok() || queue == nullptr) return false;
            const std::string name = queue->name;
            drop_queue(*queue, Code::ok, "");
            topology.forget_destination(name,
                                        false);  // auto-deleted exchanges have records of their own
            return true;
        }
        case RecordType::exchange_declare: {
            const std::string name(in.text());
            const auto [type_of, options] = get_exchange_options(in);
            if (!in.ok() || topology.find(name) != nullptr) return false;
            topology.add(name, type_of, options);
            return true;
        }
        case RecordType::exchange_delete: {
            const std::string name(in.text());
            const Exchange* exchange = topology.find(name);
            if (!in.ok() || exchange == nullptr || exchange->predeclared) return false;
            topology.remove(name);
            topology.forget_destination(name, true);
            return true;
        }
        default: {
            const Binding binding = get_binding(in);
            if (!in.ok() || topology.find(binding.source) == nullptr) return false;
            return type == RecordType::bind ? topology.bind(binding) : topology.unbind(binding);
        }
    }
}

bool Engine::State::replay_producer(RecordType type, Bytes bytes) {
    Reader in(bytes);
    in.u8();
    const std::uint64_t number = in.varint();
    if (!in.ok() || number == 0) return false;
    if (type == RecordType::producer) {
        const std::string name(in.text());
        const std::uint64_t epoch = in.varint();
        const bool temporary = in.u8() != 0;
        const Producer* same = producers.find(name);
        if (!in.ok() || (same != nullptr && same->number != number)) return false;
        producers.put(number, name, epoch, temporary);
        return true;
    }
    if (type == RecordType::producer_forget) {
        producers.forget(number);
        return true;
    }
    const auto ranges = get_ranges(in);
    Producer* producer = producers.find(number);
    if (!in.ok() || producer == nullptr) return false;
    for (const auto& range : ranges) {
        producer->open.add(range);
        producer->mark = std::max(producer->mark, range.last);
    }
    return true;
}

bool Engine::State::replay_queue(RecordType type, const Journal::Place& place, Bytes bytes) {
    if (type == RecordType::horizon) {
        Reader in(bytes);
        in.u8();
        Queue* queue = queue_of(in.bounded<QueueId>(UINT32_MAX));
        const Position horizon = in.varint();
        if (in.ok() && queue != nullptr) queue->horizon = std::max(queue->horizon, horizon);
        return in.ok();
    }
    QueueId id = 0;
    std::vector<Extent> extents;
    if (!decode_extents(bytes, type, id, extents)) return false;
    Queue* queue = queue_of(id);
    if (queue == nullptr) return true;
    if (type == RecordType::index_block) {
        const auto size = static_cast<std::uint32_t>(bytes.size());
        return account(*queue, [&](ReadyQueue& ready) {
            return ready.spilled(extents, place.position, size);
        });
    }
    std::vector<std::uint32_t> attempts(extents.size(), 0);
    const bool purge = type == RecordType::purge;
    const bool uncounted = FERRY_PLANTED("engine-attempt-not-replayed");
    for (std::size_t i = 0; i < extents.size(); ++i) {
        const Extent& e = extents[i];
        if (!live.knows(e.record()) || live.segment_of(e.record()) != live.segment_of(e.first))
            return false;
        const std::uint64_t found = account(*queue, [&](ReadyQueue& ready) {
            return ready.cut(e.first, e.count, false, e.level, &attempts[i]);
        });
        if (found != e.count) return false;
    }
    if (purge) account(*queue, [](ReadyQueue& ready) { return ready.clear(); });
    if (purge && queue->extras != nullptr) drop_waiting(*queue);
    for (std::size_t i = 0; i < extents.size(); ++i) {
        account(*queue, [&](ReadyQueue& ready) {
            ready.give_back(extents[i], attempts[i] + (purge || uncounted ? 0 : 1), place.position);
        });
    }
    return true;
}

bool Engine::State::replay_transaction(const Journal::Place& place, Bytes bytes) {
    if (!decode_publish(bytes, record)) return false;
    for (const QueueSpans& group : record.acks) {
        Queue* queue = queue_of(group.queue);
        if (queue == nullptr) continue;
        for (const Span& span : group.spans) {
            if (!give_up(*queue, span)) return false;
        }
    }
    for (const QueueRejects& group : record.rejects) {
        Queue* queue = queue_of(group.queue);
        if (queue == nullptr) continue;
        Leaving like;
        like.wall_ms = record.wall_ms;
        for (const auto& [extent, attempts] : group.parts) {
            if (!pick(*queue, extent, nullptr)) return false;
            like.attempts = attempts;
            apply_leave(*queue, extent, like);
        }
    }
    const Bytes messages = bytes.subspan(record.messages_offset);
    apply_publish(place, record, std::span(&messages, 1));
    return true;
}

bool Engine::State::replay_ack(Bytes bytes) {
    std::vector<QueueSpans> groups;
    if (!decode_ack(bytes, groups)) return false;
    for (const QueueSpans& group : groups) {
        Queue* queue = queue_of(group.queue);
        if (queue == nullptr) continue;
        for (const Span& span : group.spans) {
            account(*queue, [&](ReadyQueue& ready) {
                return ready.cut(span.first, span.count, true, span.level);
            });
            if (queue->ready.broken()) return false;
        }
    }
    return true;
}

Status Engine::State::replay(const Journal::Place& place, Bytes bytes) {
    if (bytes.empty()) return corrupt(place.position, "a record is empty");
    if (!live.fits(place))
        return corrupt(place.position, "a record stands before one that was read");
    live.note_place(place);
    last_gate = place.position;
    replay_body = bytes;
    const auto type = static_cast<RecordType>(bytes[0]);
    bool fits = false;
    switch (type) {
        case RecordType::publish:
        case RecordType::transaction:
            fits = replay_transaction(place, bytes);
            break;
        case RecordType::delayed:
        case RecordType::due:
        case RecordType::cancel:
        case RecordType::clock:
            fits = replay_later(type, place, bytes);
            break;
        case RecordType::leave:
            fits = replay_leave(bytes);
            break;
        case RecordType::restart:
            fits = bytes.size() == 2;
            if (fits && bytes[1] != std::byte{0}) suspect_all();
            break;
        case RecordType::ack:
            fits = replay_ack(bytes);
            break;
        case RecordType::queue_declare:
        case RecordType::queue_delete:
        case RecordType::exchange_declare:
        case RecordType::exchange_delete:
        case RecordType::bind:
        case RecordType::unbind:
            fits = replay_topology(type, bytes);
            break;
        case RecordType::producer:
        case RecordType::producer_open:
        case RecordType::producer_forget:
            fits = replay_producer(type, bytes);
            break;
        case RecordType::returned:
        case RecordType::purge:
        case RecordType::horizon:
        case RecordType::index_block:
            fits = replay_queue(type, place, bytes);
            break;
        case RecordType::policy_set:
        case RecordType::policy_delete:
            fits = replay_policy(type, bytes);
            break;
        case RecordType::schedule_set:
        case RecordType::schedule_delete:
        case RecordType::schedule_moved:
        case RecordType::schedule_fired:
            fits = replay_schedule(type, place, bytes);
            break;
        case RecordType::slice:
            break;  // only in compacted segments, which are never replayed
        default:
            fits = Locks::has_record(type) ? locks.replay(type, place.position, bytes)
                                           : replay_prepared(type, place, bytes);
    }
    effects.clear();  // replay speaks to nobody
    if (!fits || replay_broken)
        return corrupt(place.position, "a record's body is not what its type demands");
    return ok_status();
}

void Engine::State::suspect_all() {
    for (auto& [id, queue] : queues) queue->ready.suspect_below(queue->horizon);
}

void Engine::State::write_token_floor(bool unclean) {
    for (const auto& [id, queue] : queues) {
        if (queue->ready.messages() == 0) continue;
        // Its position counts, above every token given out before; and after a crash it keeps the
        // attempts that are counted now for the next one.
        body.clear();
        put_u8(body, static_cast<std::uint8_t>(RecordType::restart));
        put_u8(body, unclean ? 1 : 0);
        token_floor = append(body).position;
        return;
    }
}

void Engine::recovered(bool unclean, Now now) {
    State& s = *state_;
    s.start_clock(now);
    if (unclean && !FERRY_PLANTED("engine-crash-not-marked-as-redelivery")) s.suspect_all();
    s.replaying = false;
    s.locks.start(now.mono);
    for (auto& [id, queue] : s.queues) {
        queue->horizon_durable = queue->horizon;
        queue->published = 0;
        s.use(*queue);
        if (queue->options.policy.trims()) s.mark_dirty(*queue);
        s.hold_keys_of_waiting(*queue);
        if (queue->extras == nullptr) continue;
        Extras& x = *queue->extras;
        x.outbound.clear();
        for (const auto& [first, leaving] : x.leaving) x.outbound.insert(leaving.extent.record());
        if (!x.outbound.empty()) s.mark_dirty(*queue);
        s.set_alarm(*queue);
    }
    for (auto& [number, producer] : s.producers.all()) {
        producer.sessions = 0;
        // How long nobody was there who could come nobody knows: their time begins anew.
        producer.idle_since_ms = now.mono.ns / 1'000'000;
    }
    // What was not meant to outlive the broker.
    std::vector<Queue*> gone;
    for (auto& [id, queue] : s.queues) {
        if (!queue->options.durable || queue->options.exclusive) gone.push_back(queue.get());
    }
    for (Queue* queue : gone) s.delete_queue_now(*queue, Code::ok, "the broker restarted");
    std::vector<std::string> exchanges;
    for (const auto& [name, exchange] : s.topology.exchanges()) {
        if (!exchange.predeclared && !exchange.options.durable) exchanges.push_back(name);
    }
    for (const std::string& name : exchanges) {
        if (s.topology.find(name) != nullptr) s.delete_exchange_now(name);
    }
    s.write_token_floor(unclean);
    s.effects.clear();
    s.totals = Totals{};
}

void Engine::save(std::vector<std::byte>& out, bool clean) const {
    const State& s = *state_;
    out.clear();
    put_u8(out, checkpoint_version);
    s.live.save(out);
    s.producers.save(out);
    s.topology.save(out);
    put_varint(out, s.generated_names);
    put_varint(out, s.steady_ms(s.last_now));
    put_varint(out, s.last_wall_ms);
    s.save_policies(out);
    s.save_schedules(out);
    s.prepared.save(out);
    s.locks.save(out);
    put_varint(out, s.queues.size());
    for (const auto& [id, queue] : s.queues) s.save_queue(out, *queue, clean);
}

void Engine::State::save_queue(std::vector<std::byte>& out, const Queue& queue, bool clean) const {
    const QueuePolicy& policy = queue.declared_policy();
    const bool has_policy = policy != QueuePolicy{};
    put_varint(out, queue.id);
    put_text(out, queue.name);
    put_u8(out, static_cast<std::uint8_t>(
                    (queue.options.durable ? 1 : 0) | (queue.options.exclusive ? 2 : 0) |
                    (queue.options.auto_delete ? 4 : 0) | (has_policy ? 8 : 0) |
                    (queue.extras != nullptr ? 16 : 0) |
                    (queue.options.ordered ? queue_flag_ordered : 0) |
                    (queue.options.single_active ? queue_flag_single_active : 0)));
    put_varint(out, queue.lease_ms);
    if (has_policy) put_policy(out, policy);
    // After a clean stop nothing that lies ready was on its way.
    put_varint(out, clean ? 0 : queue.horizon);
    // Unacked messages count as returned, as they would after a crash.
    std::vector<std::pair<Extent, std::uint32_t>> unacked;
    for (const auto* list : {&queue.subscriptions, &queue.pullers}) {
        for (const Subscription* subscription : *list) {
            for (const auto& [tag, chunk] : subscription->chunks)
                unacked.emplace_back(chunk.extent, chunk.attempts);
        }
    }
    FERRY_ASSERT(!clean || unacked.empty(), "return_all() comes before a clean checkpoint");
    if (FERRY_PLANTED("engine-held-messages-not-in-the-checkpoint")) unacked.clear();
    put_varint(out, unacked.size());
    for (const auto& [extent, attempts] : unacked) {
        put_extent(out, extent, 0);
        put_varint(out, attempts);
    }
    queue.ready.save(out);
    if (queue.extras != nullptr) save_extras(out, queue);
}

void Engine::State::save_extras(std::vector<std::byte>& out, const Queue& queue) const {
    const Extras& x = *queue.extras;
    x.retries.save(out);
    x.scheduled.save(out);
    put_varint(out, x.ids.size());
    for (const auto& [hash, key] : x.ids) {
        put_u64(out, hash);
        put_varint(out, key.due);
        put_varint(out, key.first);
    }
    x.expiry.save(out);
    x.seen.save(out);
    put_varint(out, x.leaving.size());
    for (const auto& [first, leaving] : x.leaving) {
        put_u8(out, static_cast<std::uint8_t>(leaving.reason));
        put_varint(out, leaving.wall_ms);
        put_text(out, leaving.target);
        put_varint(out, leaving.attempts);
        put_extent(out, leaving.extent, 0);
    }
}

bool Engine::State::load_extras(Reader& in, Queue& queue) {
    Extras& x = extras_of(queue);
    if (!x.retries.load(in) || !x.scheduled.load(in)) return false;
    for (std::size_t ids = in.count(10); ids > 0 && in.ok(); --ids) {
        const std::uint64_t hash = in.u64();
        const std::uint64_t due = in.varint();
        x.ids.emplace(hash, TimerList::Key{due, in.varint()});
    }
    if (!x.expiry.load(in) || !x.seen.load(in)) return false;
    const std::size_t count = in.count(9);
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        Leaving leaving;
        const auto reason = in.bounded<std::uint8_t>(static_cast<std::uint8_t>(LeaveReason::moved));
        leaving.reason = static_cast<LeaveReason>(reason);
        leaving.wall_ms = in.varint();
        leaving.target = in.text();
        leaving.attempts = in.bounded<std::uint32_t>(UINT32_MAX - 1);
        const Extent extent = get_extent(in, 0);
        if (reason == 0 || !plausible(extent) || x.leaving.count(extent.first) != 0) in.reject();
        if (in.ok()) apply_leave(queue, extent, leaving);
    }
    return in.ok();
}

bool Engine::State::books_agree() {
    std::map<Position, std::uint64_t> references;
    bool known = true;
    const auto note = [&](Position at, std::uint64_t count) {
        if (live.knows(at) && at < live.end()) {
            references[live.segment_of(at)] += count;
        } else {
            known = false;
        }
    };
    for (const auto& [id, queue] : queues) {
        queue->ready.visit_references(note);
        if (queue->extras == nullptr) continue;
        const auto timer = [&](const TimerList::Entry& e) {
            note(e.extent.record(), e.extent.count);
        };
        queue->extras->retries.visit_in_any_order(timer);
        queue->extras->scheduled.visit_in_any_order(timer);
        for (const auto& [first, leaving] : queue->extras->leaving)
            note(leaving.extent.record(), leaving.extent.count);
    }
    if (!known) return false;
    return std::all_of(live.segments().begin(), live.segments().end(), [&](const SegmentLoad& s) {
        const auto at = references.find(s.base);
        return s.references == (at == references.end() ? 0 : at->second);
    });
}

Status Engine::State::load_queue(Reader& in) {
    const auto id = in.bounded<QueueId>(UINT32_MAX - 1);
    const std::string name(in.text());
    const std::uint8_t flags = in.u8();
    const std::uint64_t lease = in.varint();
    QueueOptions options = queue_options(flags);
    if ((flags & 8U) != 0) options.policy = get_policy(in);
    const Position horizon = in.varint();
    if (!in.ok() || id == 0 || id > limits::queues_max || queue_of(id) != nullptr ||
        queue_named(name) != nullptr) {
        return corrupt(0, "the checkpoint's queues are damaged");
    }
    Queue& queue = make_queue(id, name, options, lease);
    queue.horizon = horizon;
    const std::size_t unacked = in.count(6);
    std::vector<std::pair<Extent, std::uint32_t>> back;
    for (std::size_t n = 0; n < unacked && in.ok(); ++n) {
        const Extent e = get_extent(in, 0);
        if (!plausible(e)) in.reject();
        back.emplace_back(e, in.bounded<std::uint32_t>(UINT32_MAX - 1));
    }
    const bool fits = account(queue, [&](ReadyQueue& ready) { return ready.load(in); });
    if (!fits) return corrupt(0, "the checkpoint is damaged");
    for (const auto& part : back) {
        if (queue.ready.holds_returned(part.first.first))
            return corrupt(0, "the checkpoint names a message twice");
        account(queue, [&](ReadyQueue& ready) { ready.give_back(part.first, part.second, 0); });
    }
    if ((flags & 16U) != 0 && !load_extras(in, queue))
        return corrupt(0, "the checkpoint's waiting messages are damaged");
    return ok_status();
}

Status Engine::load(Bytes checkpoint) {
    State& s = *state_;
    Reader in(checkpoint);
    if (in.u8() != checkpoint_version)
        return corrupt(0, "the checkpoint has a version this broker does not know");
    if (!s.live.load(in)) return corrupt(0, "the checkpoint's space table is damaged");
    if (!s.producers.load(in)) return corrupt(0, "the checkpoint's producers are damaged");
    if (!s.topology.load(in)) return corrupt(0, "the checkpoint's exchanges are damaged");
    s.generated_names = in.varint();
    s.clock.steady_ms = in.bounded<std::uint64_t>(steady_ms_max);
    s.clock.wall_ms = in.varint();
    if (!s.load_policies(in)) return corrupt(0, "the checkpoint's policies are damaged");
    if (!s.load_schedules(in)) return corrupt(0, "the checkpoint's schedules are damaged");
    if (!s.prepared.load(in)) return corrupt(0, "the checkpoint's prepared messages are damaged");
    if (!s.locks.load(in)) return corrupt(0, "the checkpoint's locks are damaged");
    const std::size_t count = in.count(6);
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        if (Status loaded = s.load_queue(in); !loaded.ok()) return loaded;
    }
    if (!in.ok() || !in.at_end()) return corrupt(0, "the checkpoint is damaged");
    if (!s.books_agree())
        return corrupt(0, "the checkpoint's space table does not agree with its queues");
    return ok_status();
}

}  // namespace ferry::engine
