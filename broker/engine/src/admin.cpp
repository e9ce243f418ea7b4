// Sessions, producers, subscriptions, queues, exchanges, bindings.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "policy.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::string_view reserved_prefix = "amq.";
constexpr const char* bad_name_text =
    "names have 1 to 255 of a-z A-Z 0-9 . _ - and do not begin with amq.";

std::string no_exchange(std::string_view name) {
    return "there is no exchange '" + std::string(name) + "'";
}

std::string complaint_of(const QueueOptions& options) {
    if (options.ordered && options.policy.priorities)
        return "a queue is ordered or heeds priorities, not both: one key keeps its order";
    return complaint_of(options.policy);
}

// Of a queue_declare record.
std::uint8_t flags_of(const QueueOptions& options) {
    const int flags = (options.durable ? 1 : 0) | (options.exclusive ? 2 : 0) |
                      (options.auto_delete ? 4 : 0) | (options.policy != QueuePolicy{} ? 8 : 0) |
                      (options.ordered ? queue_flag_ordered : 0) |
                      (options.single_active ? queue_flag_single_active : 0);
    return static_cast<std::uint8_t>(flags);
}

// What of a declaration is not what the queue was declared with, and what to do; empty: nothing.
std::string differences(const Queue& queue, const QueueOptions& asked) {
    const QueueOptions& there = queue.options;
    std::vector<std::string> names = engine::differences(queue.declared_policy(), asked.policy);
    const auto flag = [&](bool a, bool b, const char* name) {
        if (a != b) names.emplace_back(name);
    };
    flag(there.durable, asked.durable, "durable");
    flag(there.exclusive, asked.exclusive, "exclusive");
    flag(there.auto_delete, asked.auto_delete, "auto_delete");
    flag(there.ordered, asked.ordered, "ordered");
    flag(there.single_active, asked.single_active, "single_active");
    if (asked.lease_ms != 0 && asked.lease_ms != queue.lease_ms) names.emplace_back("lease_ms");
    if (names.empty()) return {};
    std::string text = "queue '" + queue.name + "' exists with other settings:";
    for (const std::string& name : names) text += " " + name;
    // A client that copies what it was shown.
    if (queue.named_policy != nullptr && asked.policy == there.policy)
        return text + "; leave out what policy '" + queue.named_policy->name + "' lends it";
    return text + "; declare it as it is, change it by a policy, or delete it first";
}

bool may_be_declared(std::string_view name) {
    return wire::valid_name(name) && !name.starts_with(reserved_prefix);
}

}  // namespace

// ---- sessions ----

void Engine::State::close_session(SessionId id, Now now) {
    see(now);
    Session* session = session_of(id);
    if (session == nullptr) return;
    flush_acks();
    while (!session->subscriptions.empty())
        end_subscription(*session, *session->subscriptions.begin()->second);
    for (const auto& [handle, open] : session->producers) {
        Producer* producer = producers.find(open.number);
        if (producer == nullptr) continue;
        --producer->sessions;
        if (producer->sessions == 0) producer->idle_since_ms = now.mono.ns / 1'000'000;
    }
    std::vector<QueueId> own;
    for (const QueueId queue_id : session->exclusive_queues) own.push_back(queue_id);
    sessions.erase(id);
    locks.detach_all(id, now.mono);
    for (const QueueId queue_id : own) {
        if (Queue* queue = queue_of(queue_id))
            delete_queue_now(*queue, Code::no_such_queue, "its connection ended");
    }
}

void Engine::return_all(Now now) {
    State& s = *state_;
    s.see(now);
    s.flush_acks();
    for (auto& [id, queue] : s.queues) {
        for (Subscription* subscription : queue->subscriptions) s.return_chunks(*subscription);
        for (Subscription* puller : queue->pullers) s.return_chunks(*puller);
    }
}

void Engine::State::end_subscription(Session& session, Subscription& s) {
    Queue& queue = *s.queue;
    return_chunks(s);
    lease_timers.erase({s.earliest_deadline.ns, {s.session, s.id}});
    std::erase(queue.pullers, &s);
    std::erase_if(queue.waiting_pulls, [&](const WaitingPull& p) {
        return p.session == s.session && p.subscription == s.id;
    });
    if (s.stuck && !s.pull_only) --queue.stuck;
    s.stuck = false;
    if (!s.pull_only) leave_consumers(queue, s);
    const bool was_consumer = std::erase(queue.subscriptions, &s) > 0;
    if (was_consumer) share_keys_among_living(queue);
    use(queue);
    queue.next_subscription = 0;
    if (s.options.exclusive) queue.exclusive_consumer = false;
    session.subscriptions.erase(s.id);
    mark_dirty(queue);
    if (was_consumer && queue.subscriptions.empty() && queue.options.auto_delete) {
        delete_queue_now(queue, Code::no_such_queue,
                         "it was declared auto_delete and lost its last consumer");
    }
}

// ---- producers ----

void Engine::open_producer(SessionId session_id, std::uint64_t request, std::string_view name,
                           std::optional<std::uint64_t> epoch, bool temporary, Now now) {
    State& s = *state_;
    s.see(now);
    Session* session = s.session_of(session_id);
    FERRY_ASSERT(session != nullptr, "the driver opened the session");
    if (name.empty() || name.size() > limits::name_bytes_max) {
        return s.fail(session_id, request, Code::bad_name, "a producer's name has 1 to 255 bytes");
    }
    if (session->producers.size() >= limits::producers_per_connection_max) {
        return s.fail(session_id, request, Code::limit_reached,
                      "a connection has at most 64 producers");
    }
    Producer* producer = s.producers.find(name);
    if (producer == nullptr && s.producers.size() >= limits::producers_max) {
        return s.fail(session_id, request, Code::limit_reached,
                      "the broker remembers at most 100000 producers");
    }
    if (producer != nullptr && epoch && *epoch < producer->epoch &&
        !FERRY_PLANTED("engine-older-epoch-let-in")) {
        return s.fail(
            session_id, request, Code::fenced,
            "producer '" + std::string(name) + "' is at epoch " + std::to_string(producer->epoch));
    }
    const std::uint64_t wanted = epoch.value_or(producer != nullptr ? producer->epoch : 1);
    Position gate = 0;
    if (producer == nullptr || producer->epoch != wanted) {
        const std::uint64_t number =
            producer != nullptr ? producer->number : s.producers.next_number();
        s.body.clear();
        put_u8(s.body, static_cast<std::uint8_t>(RecordType::producer));
        put_varint(s.body, number);
        put_text(s.body, name);
        put_varint(s.body, wanted);
        put_u8(s.body, temporary ? 1 : 0);
        gate = s.append(s.body).position;
        producer = &s.producers.put(number, name, wanted, temporary);
        producer->open_unlogged.clear();
    } else {
        gate = s.last_gate;
    }
    ++producer->sessions;
    producer->idle_since_ms = 0;
    const std::uint64_t handle = session->next_handle++;
    session->producers[handle] = {producer->number, producer->epoch};
    s.reply(gate, session_id, request,
            ProducerAnswer{handle, producer->epoch, producer->mark, producer->open.ranges()});
}

void Engine::hold(SessionId session_id, std::uint64_t request, std::uint64_t handle,
                  std::span<const Range<Sequence>> ranges) {
    State& s = *state_;
    Session* session = s.session_of(session_id);
    FERRY_ASSERT(session != nullptr, "the driver opened the session");
    const auto open = session->producers.find(handle);
    Producer* producer =
        open == session->producers.end() ? nullptr : s.producers.find(open->second.number);
    if (producer == nullptr) {
        return s.fail(session_id, request, Code::no_such_producer,
                      "that producer handle is not open here");
    }
    if (producer->epoch != open->second.epoch) {
        return s.fail(session_id, request, Code::fenced, "a newer epoch of this producer exists");
    }
    Sequence next = producer->mark + 1;
    std::uint64_t held = producer->open.size();
    for (const auto& range : ranges) {
        if (range.first != next || range.last < range.first) {
            return s.fail(session_id, request, Code::sequence_gap,
                          "held sequences follow on the mark, " + std::to_string(producer->mark));
        }
        // Compared before the sum is formed: the range is whatever the client wrote.
        const std::uint64_t more = range.last - range.first;
        held = more < limits::open_sequences_max ? held + more + 1 : limits::open_sequences_max + 1;
        if (held > limits::open_sequences_max) {
            return s.fail(session_id, request, Code::limit_reached,
                          "a producer has at most 65536 open sequences");
        }
        next = range.last + 1;
    }
    for (const auto& range : ranges) s.open_sequences(*producer, range);
    s.log_open_sequences(*producer);
    s.reply(s.last_gate, session_id, request, Plain{});
}

// ---- subscriptions ----

void Engine::subscribe(SessionId session_id, std::uint64_t request, std::uint64_t id,
                       std::string_view name, const SubscribeOptions& options, Now now) {
    State& s = *state_;
    s.see(now);
    Session* session = s.session_of(session_id);
    FERRY_ASSERT(session != nullptr, "the driver opened the session");
    Queue* queue = s.queue_for(session_id, request, name);
    if (queue == nullptr) return;
    const auto refuse = [&](Code code, std::string text) {
        s.fail(session_id, request, code, std::move(text));
    };
    if (queue->exclusive_consumer || (options.exclusive && !queue->subscriptions.empty())) {
        return refuse(
            Code::exclusive_elsewhere,
            "queue '" + std::string(name) + "' has a consumer, and one is to be exclusive");
    }
    if (session->subscriptions.count(id) != 0) {
        return refuse(Code::already_exists,
                      "subscription number " + std::to_string(id) + " is in use");
    }
    if (session->subscriptions.size() >= limits::subscriptions_per_connection_max) {
        return refuse(Code::limit_reached, "a connection has at most 4096 subscriptions");
    }
    if (options.window_messages > limits::window_messages_max ||
        options.window_bytes > limits::window_bytes_max) {
        return refuse(Code::bad_option, "a window has at most 100000 messages and 268435456 bytes");
    }
    if (options.lease_ms != 0 &&
        (options.lease_ms < limits::lease_ms_min || options.lease_ms > limits::lease_ms_max)) {
        return refuse(Code::bad_option, "a lease is 1000 ms to 604800000 ms (7 days)");
    }
    if (options.weight < 1 || options.weight > limits::ring_weight_max ||
        options.member.size() > limits::name_bytes_max) {
        return refuse(Code::bad_option,
                      "a consumer's weight is 1 to 64, and its member name has at most 255 bytes");
    }
    auto subscription = std::make_unique<Subscription>();
    subscription->session = session_id;
    subscription->id = id;
    subscription->queue = queue;
    subscription->options = options;
    if (options.lease_ms == 0) subscription->options.lease_ms = queue->lease_ms;
    queue->subscriptions.push_back(subscription.get());
    queue->had_consumer = true;
    s.use(*queue);
    queue->exclusive_consumer = options.exclusive;
    session->subscriptions.emplace(id, std::move(subscription));
    Subscription& joined = *queue->subscriptions.back();
    joined.heard_at = s.last_now;
    s.effects.push_back(
        Reply{session_id, request,
              QueueAnswer{queue->name, queue->ready.messages(), queue->subscriptions.size()}});
    s.join_consumers(*queue, joined);
    s.mark_dirty(*queue);
}

void Engine::unsubscribe(SessionId session_id, std::uint64_t request, std::uint64_t id, Now now) {
    State& s = *state_;
    s.see(now);
    Session* session = s.session_of(session_id);
    Subscription* subscription = s.subscription_of(session_id, id);
    if (subscription == nullptr) {
        return s.fail(session_id, request, Code::no_such_subscription,
                      "there is no such subscription on this connection");
    }
    s.flush_acks();
    s.end_subscription(*session, *subscription);
    s.reply(s.last_gate, session_id, request, Plain{});
}

// ---- queues ----

QueueId Engine::State::free_queue_id() const {
    // Numbers are used again, so that the table of queues stays as long as there were queues at a
    // time. Nothing in the log speaks of a deleted queue behind the record that deleted it.
    return unused_queue_ids.empty() ? next_queue_id : *unused_queue_ids.begin();
}

Queue& Engine::State::make_queue(QueueId id, std::string_view name, const QueueOptions& options,
                                 std::uint64_t lease_ms) {
    auto queue = std::make_unique<Queue>(id, std::string(name), live);
    queue->options = options;
    queue->lease_ms = lease_ms;
    if (options.ordered) queue->gate = std::make_unique<KeyGate>(queue->ready.base());
    Queue& made = *queue;
    queue_ids[made.name] = id;
    if (queue_table.size() <= id) queue_table.resize(std::size_t{id} + 1, nullptr);
    queue_table[id] = &made;
    queues[id] = std::move(queue);
    for (; next_queue_id <= id; ++next_queue_id) unused_queue_ids.insert(next_queue_id);
    unused_queue_ids.erase(id);
    topology.changed();
    apply_policy(made);
    return made;
}

void Engine::declare_queue(SessionId session_id, std::uint64_t request,
                           std::string_view wanted_name, const QueueOptions& options, Now now) {
    State& s = *state_;
    s.see(now);
    Session* session = s.session_of(session_id);
    FERRY_ASSERT(session != nullptr, "the driver opened the session");
    std::string name(wanted_name);
    const auto refuse = [&](Code code, std::string text) {
        s.fail(session_id, request, code, std::move(text));
    };
    if (options.lease_ms != 0 &&
        (options.lease_ms < limits::lease_ms_min || options.lease_ms > limits::lease_ms_max)) {
        return refuse(Code::bad_option, "lease_ms is 1000 to 604800000 (7 days)");
    }
    if (std::string wrong = complaint_of(options); !wrong.empty())
        return refuse(Code::bad_option, std::move(wrong));
    if (Queue* queue = s.queue_named(name)) {
        if (queue->owner != 0 && queue->owner != session_id) {
            return refuse(Code::exclusive_elsewhere,
                          "queue '" + name + "' belongs to another connection");
        }
        std::string wrong = options.passive ? std::string() : differences(*queue, options);
        if (!wrong.empty()) return refuse(Code::declared_differently, std::move(wrong));
        s.use(*queue);
        return s.reply(s.last_gate, session_id, request,
                       QueueAnswer{name, queue->ready.messages(), queue->subscriptions.size()});
    }
    if (options.passive) return refuse(Code::no_such_queue, no_queue(name));
    if (name.empty()) {
        do {
            name =
                "amq.gen-" + std::to_string(session_id) + "-" + std::to_string(++s.generated_names);
        } while (s.queue_named(name) != nullptr);
    } else if (!may_be_declared(name)) {
        return refuse(Code::bad_name, bad_name_text);
    }
    if (s.queues.size() >= limits::queues_max)
        return refuse(Code::limit_reached, "there are at most 100000 queues");
    if (options.check) {
        s.effects.push_back(Reply{session_id, request, QueueAnswer{name, 0, 0}});
        return;
    }
    const std::uint64_t lease =
        options.lease_ms != 0 ? options.lease_ms : s.settings.lease_ms_default;
    const QueueId id = s.free_queue_id();
    s.body.clear();
    put_u8(s.body, static_cast<std::uint8_t>(RecordType::queue_declare));
    put_varint(s.body, id);
    put_text(s.body, name);
    put_u8(s.body, flags_of(options));
    put_varint(s.body, lease);
    if (options.policy != QueuePolicy{}) put_policy(s.body, options.policy);
    const Journal::Place place = s.append(s.body);
    Queue& queue = s.make_queue(id, name, options, lease);
    if (options.exclusive) {
        queue.owner = session_id;
        session->exclusive_queues.push_back(id);
    }
    s.use(queue);
    s.reply(place.position, session_id, request, QueueAnswer{name, 0, 0});
}

void Engine::State::drop_waiting(Queue& queue) {
    Extras& x = *queue.extras;
    for (TimerList* list : {&x.retries, &x.scheduled}) {
        list->visit_in_any_order([&](const TimerList::Entry& e) {
            live.remove(e.extent.record(), e.extent.count, e.extent.bytes);
        });
        list->clear();
    }
    set_alarm(queue);
}

void Engine::State::drop_extras(Queue& queue, Code reason) {
    Extras& x = *queue.extras;
    for (const WaitingMove& move : x.moves)
        fail(move.session, move.request, reason, no_queue(queue.name));
    drop_waiting(queue);
    for (const auto& [first, leaving] : x.leaving) {
        const Extent& e = leaving.extent;
        live.remove(e.record(), e.count, e.bytes);
    }
    if (x.alarm_ns != 0) alarms.erase({x.alarm_ns, queue.id});
    timed.erase(queue.id);
    parked_queues.erase(queue.id);
}

void Engine::State::drop_queue(Queue& queue, Code reason, std::string_view why) {
    for (const auto* list : {&queue.subscriptions, &queue.pullers}) {
        for (Subscription* s : *list) {
            for (const auto& [tag, chunk] : s->chunks) {
                live.remove(chunk.extent.record(), chunk.extent.count, chunk.extent.bytes);
            }
            lease_timers.erase({s->earliest_deadline.ns, {s->session, s->id}});
            const SessionId session_id = s->session;
            const std::uint64_t id = s->id;
            effects.push_back(
                Cancelled{session_id, id, reason,
                          "queue '" + queue.name + "' was deleted: " + std::string(why)});
            if (Session* session = session_of(session_id)) session->subscriptions.erase(id);
        }
    }
    for (const WaitingPull& pull : queue.waiting_pulls)
        fail(pull.session, pull.request, reason, no_queue(queue.name));
    if (queue.extras != nullptr) drop_extras(queue, reason);
    account(queue, [](ReadyQueue& ready) { return ready.clear(); });
    if (Session* owner = session_of(queue.owner)) std::erase(owner->exclusive_queues, queue.id);
    ack_spans -= queue.acks.size();
    const QueueId id = queue.id;
    queue_ids.erase(queue.name);
    queue_table[id] = nullptr;
    queues.erase(id);
    unused_queue_ids.insert(id);
    topology.changed();
}

void Engine::State::delete_queue_now(Queue& queue, Code reason, std::string_view why) {
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::queue_delete));
    put_varint(body, queue.id);
    append(body);
    const std::string name = queue.name;
    drop_queue(queue, reason, why);
    for (const std::string& exchange : topology.forget_destination(name, false))
        delete_exchange_now(exchange);
}

void Engine::delete_queue(SessionId session_id, std::uint64_t request, std::string_view name,
                          bool if_unused, bool if_empty, Now now) {
    State& s = *state_;
    s.see(now);
    Queue* queue = s.queue_for(session_id, request, name);
    if (queue == nullptr) return;
    const auto refuse = [&](Code code, std::string text) {
        s.fail(session_id, request, code, std::move(text));
    };
    if (if_unused && !queue->subscriptions.empty()) {
        return refuse(Code::in_use, "queue '" + std::string(name) + "' has consumers");
    }
    const QueueView held = s.view(*queue, now);
    const std::uint64_t messages = held.ready + held.unacked + held.delayed + held.leaving;
    if (if_empty && messages > 0)
        return refuse(Code::not_empty, "queue '" + std::string(name) + "' holds messages");
    s.delete_queue_now(*queue, Code::no_such_queue, "a client deleted it");
    s.reply(s.last_gate, session_id, request, CountAnswer{messages});
}

void Engine::purge_queue(SessionId session_id, std::uint64_t request, std::string_view name,
                         Now now) {
    State& s = *state_;
    s.see(now);
    Queue* queue = s.queue_for(session_id, request, name);
    if (queue == nullptr) return;
    s.flush_acks();
    // Replay does not know what was delivered, so the record names what stays.
    std::vector<Extent> kept;
    for (const auto* list : {&queue->subscriptions, &queue->pullers}) {
        for (const Subscription* subscription : *list) {
            for (const auto& [tag, chunk] : subscription->chunks) kept.push_back(chunk.extent);
        }
    }
    if (kept.size() > extents_per_record_max) {
        return s.fail(session_id, request, Code::limit_reached,
                      "too many separate messages are unacked; purge again when fewer are");
    }
    std::sort(kept.begin(), kept.end(),
              [](const Extent& a, const Extent& b) { return a.first < b.first; });
    s.body.clear();
    encode_extents(s.body, RecordType::purge, queue->id, kept);
    s.append(s.body);
    std::uint64_t purged = s.account(*queue, [](ReadyQueue& ready) { return ready.clear(); });
    if (queue->extras != nullptr) {
        purged += queue->extras->retries.messages() + queue->extras->scheduled.messages();
        s.drop_waiting(*queue);
    }
    if (queue->gate != nullptr) {
        queue->gate->forget_keys();
        s.hold_keys_of_waiting(*queue);
        s.mark_dirty(*queue);
    }
    s.reply(s.last_gate, session_id, request, CountAnswer{purged});
}

// ---- exchanges and bindings ----

void Engine::declare_exchange(SessionId session, std::uint64_t request, std::string_view name,
                              ExchangeType type, const ExchangeOptions& options) {
    State& s = *state_;
    if (const Exchange* exchange = s.topology.find(name)) {
        const bool same = exchange->type == type && exchange->options.durable == options.durable &&
                          exchange->options.auto_delete == options.auto_delete &&
                          exchange->options.hash_on == options.hash_on &&
                          exchange->options.hash_header == options.hash_header &&
                          exchange->options.internal == options.internal;
        if (!options.passive && !same) {
            return s.fail(session, request, Code::declared_differently,
                          "exchange '" + std::string(name) + "' exists with other settings");
        }
        return s.reply(s.last_gate, session, request, Plain{});
    }
    if (options.passive) return s.fail(session, request, Code::no_such_exchange, no_exchange(name));
    const bool hashes = type == ExchangeType::consistent_hash;
    if ((!hashes && options.hash_on != HashOn::routing_key) ||
        (options.hash_on == HashOn::header) == options.hash_header.empty() ||
        options.hash_header.size() > limits::short_text_bytes_max) {
        return s.fail(session, request, Code::bad_option,
                      "a consistent-hash exchange, and no other, hashes routing_key, ordering_key "
                      "or header:NAME with a name of 1 to 255 bytes");
    }
    if (!may_be_declared(name)) return s.fail(session, request, Code::bad_name, bad_name_text);
    if (s.topology.exchanges().size() >= limits::exchanges_max) {
        return s.fail(session, request, Code::limit_reached, "there are at most 10000 exchanges");
    }
    s.body.clear();
    put_u8(s.body, static_cast<std::uint8_t>(RecordType::exchange_declare));
    put_text(s.body, name);
    put_exchange_options(s.body, type, options);
    const Journal::Place place = s.append(s.body);
    s.topology.add(name, type, options);
    s.reply(place.position, session, request, Plain{});
}

void Engine::State::delete_exchange_now(std::string_view name_view) {
    const std::string name(name_view);
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::exchange_delete));
    put_text(body, name);
    append(body);
    topology.remove(name);
    for (const std::string& next : topology.forget_destination(name, true)) {
        if (next != name) delete_exchange_now(next);
    }
}

void Engine::delete_exchange(SessionId session, std::uint64_t request, std::string_view name,
                             bool if_unused) {
    State& s = *state_;
    const Exchange* exchange = s.topology.find(name);
    if (exchange == nullptr)
        return s.fail(session, request, Code::no_such_exchange, no_exchange(name));
    if (exchange->predeclared) {
        return s.fail(session, request, Code::bad_name,
                      "exchanges that begin with amq. cannot be deleted");
    }
    if (if_unused && exchange->bindings > 0) {
        return s.fail(session, request, Code::in_use,
                      "exchange '" + std::string(name) + "' has bindings");
    }
    s.delete_exchange_now(name);
    s.reply(s.last_gate, session, request, Plain{});
}

Journal::Place Engine::State::log_binding(RecordType type, const Binding& binding) {
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(type));
    put_binding(body, binding);
    return append(body);
}

void Engine::bind(SessionId session, std::uint64_t request, const Binding& binding) {
    State& s = *state_;
    const auto refuse = [&](Code code, std::string text) {
        s.fail(session, request, code, std::move(text));
    };
    if (binding.source.empty())
        return refuse(Code::bad_name, "the default exchange takes no bindings");
    if (s.topology.find(binding.source) == nullptr)
        return refuse(Code::no_such_exchange, no_exchange(binding.source));
    if (binding.key.size() > limits::routing_key_bytes_max)
        return refuse(Code::bad_option, "a key has at most 255 bytes");
    if (binding.to_exchange) {
        if (s.topology.find(binding.destination) == nullptr) {
            return refuse(Code::no_such_exchange, no_exchange(binding.destination));
        }
        if (s.topology.reaches(binding.destination, binding.source)) {
            return refuse(Code::bad_option, "this binding would close a circle of exchanges");
        }
    } else {
        const Queue* queue = s.queue_named(binding.destination);
        if (queue == nullptr) return refuse(Code::no_such_queue, no_queue(binding.destination));
        if (queue->owner != 0 && queue->owner != session) {
            return refuse(Code::exclusive_elsewhere, "that queue belongs to another connection");
        }
    }
    if (s.topology.bindings() >= limits::bindings_max)
        return refuse(Code::limit_reached, "there are at most 1000000 bindings");
    if (Topology::Objection objection = s.topology.objection_to(binding);
        objection.code != Code::ok) {
        return refuse(objection.code, std::move(objection.text));
    }
    if (s.topology.has_binding(binding)) return s.reply(s.last_gate, session, request, Plain{});
    const Journal::Place place = s.log_binding(RecordType::bind, binding);
    s.topology.bind(binding);
    s.reply(place.position, session, request, Plain{});
}

void Engine::unbind(SessionId session, std::uint64_t request, const Binding& binding) {
    State& s = *state_;
    if (!s.topology.has_binding(binding)) {
        return s.fail(session, request, Code::no_such_binding,
                      "exchange '" + binding.source + "' has no such binding to '" +
                          binding.destination + "'");
    }
    s.log_binding(RecordType::unbind, binding);
    s.topology.unbind(binding);
    const Exchange* exchange = s.topology.find(binding.source);
    if (exchange->options.auto_delete && exchange->bindings == 0)
        s.delete_exchange_now(binding.source);
    s.reply(s.last_gate, session, request, Plain{});
}

// ---- queries ----

QueueView Engine::State::view(const Queue& q, Now now) const {
    QueueView v;
    v.name = q.name;
    v.id = q.id;
    v.durable = q.options.durable;
    v.exclusive = q.options.exclusive;
    v.auto_delete = q.options.auto_delete;
    v.ordered = q.options.ordered;
    v.single_active = q.options.single_active;
    if (q.gate != nullptr) {
        v.held_keys = q.gate->held_keys();
        v.blocked = q.ready.base().aside_messages();
    }
    v.lease_ms = q.lease_ms;
    v.ready = q.ready.messages();
    v.ready_bytes = q.ready.bytes();
    v.unacked = q.unacked;
    v.consumers = q.subscriptions.size();
    v.stuck = q.stuck;
    v.published = q.published;
    v.delivered = q.delivered;
    v.acked = q.acked;
    v.returned = q.returned;
    if (q.extras != nullptr) {
        v.delayed = q.extras->retries.messages() + q.extras->scheduled.messages();
        v.leaving = q.extras->leaving_messages;
        v.parked = q.extras->parked;
        v.dead_lettered = q.extras->dead_lettered;
        v.expired = q.extras->expired;
        v.dropped = q.extras->dropped;
        v.repeated = q.extras->repeated;
        v.ids = q.extras->seen.size();
    }
    for (const auto* list : {&q.subscriptions, &q.pullers}) {
        for (const Subscription* s : *list) {
            if (s->chunks.empty()) continue;
            const std::uint64_t age =
                now.mono.ns - std::min(now.mono.ns, s->chunks.begin()->chunk.taken.ns);
            v.oldest_unacked_ms = std::max(v.oldest_unacked_ms, age / 1'000'000);
        }
    }
    return v;
}

Position Engine::State::floor_of(const Queue& q) const {
    Position floor = q.ready.first_position().value_or(live.end());
    for (const auto* list : {&q.subscriptions, &q.pullers}) {
        for (const Subscription* s : *list) {
            for (const auto& [tag, chunk] : s->chunks) floor = std::min(floor, chunk.extent.first);
        }
    }
    if (q.extras == nullptr) return floor;
    for (const TimerList* list : {&q.extras->retries, &q.extras->scheduled}) {
        list->visit_in_any_order(
            [&](const TimerList::Entry& e) { floor = std::min(floor, e.extent.first); });
    }
    if (!q.extras->leaving.empty()) floor = std::min(floor, q.extras->leaving.begin()->first);
    return floor;
}

void Engine::show_queue(SessionId session, std::uint64_t request, std::string_view name, Now now) {
    State& s = *state_;
    s.see(now);
    const Queue* queue = s.queue_named(name);
    if (queue == nullptr) return s.fail(session, request, Code::no_such_queue, no_queue(name));
    s.flush_acks();
    QueueView view = s.view(*queue, now);
    view.floor = s.floor_of(*queue);
    view.policy = queue->options.policy;
    view.declared = queue->declared_policy();
    if (queue->named_policy != nullptr) view.policy_name = queue->named_policy->name;
    for (const Subscription* member : queue->subscriptions) {
        if (view.members.size() == limits::consumers_shown_max) break;
        view.members.push_back(s.consumer_view(*queue, *member, now));
    }
    s.reply(s.last_gate, session, request, std::move(view));
}

std::optional<QueueView> Engine::queue(std::string_view name, Now now) const {
    const Queue* queue = state_->queue_named(name);
    if (queue == nullptr) return std::nullopt;
    return state_->view(*queue, now);
}

std::vector<QueueView> Engine::queues(std::string_view after, std::size_t most, Now now) const {
    std::vector<QueueView> views;
    for (auto at = state_->queue_ids.upper_bound(after);
         at != state_->queue_ids.end() && views.size() < most; ++at) {
        views.push_back(state_->view(*state_->queue_of(at->second), now));
    }
    return views;
}

namespace {
ExchangeView view_of(const std::string& name, const Exchange& e) {
    return {name,
            e.type,
            e.options.durable,
            e.options.auto_delete,
            e.options.internal,
            e.bindings,
            e.options.hash_on,
            e.options.hash_header};
}
}  // namespace

std::optional<ExchangeView> Engine::exchange(std::string_view name) const {
    const Exchange* exchange = std::as_const(state_->topology).find(name);
    if (exchange == nullptr) return std::nullopt;
    return view_of(std::string(name), *exchange);
}

std::vector<ExchangeView> Engine::exchanges(std::string_view after, std::size_t most) const {
    const auto& all = state_->topology.exchanges();
    std::vector<ExchangeView> views;
    for (auto at = all.upper_bound(after); at != all.end() && views.size() < most; ++at) {
        views.push_back(view_of(at->first, at->second));
    }
    return views;
}

std::vector<Binding> Engine::bindings_of(std::string_view name) const {
    std::vector<Binding> all;
    const Exchange* exchange = std::as_const(state_->topology).find(name);
    if (exchange == nullptr) return all;
    for (const auto& [key, bindings] : exchange->by_key)
        all.insert(all.end(), bindings.begin(), bindings.end());
    return all;
}

void Engine::move_on() {
    state_->body.clear();
    begin_ack(state_->body, 0);
    state_->append(state_->body);
}

}  // namespace ferry::engine
