// Publishing.
//
//   1 plan: walk the messages once, check them, find their routes, split them into runs of one fate
//   2 write: one record for all that is stored (more only where something refused lies between)
//   3 apply: the same function that replay uses puts the runs into their queues
//
// A malformed message anywhere means that nothing of the command is applied.

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/verbs.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t targets_per_record_max = std::size_t{256} * 1024;
// What a client could not decode is not taken from another one.
bool check_headers(wire::Cursor& cursor) {
    const std::size_t before = cursor.remaining();
    std::uint32_t count = 0;
    if (!cursor.read_map(count) || count > limits::headers_max) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view text;
        if (!cursor.read_str(text) || text.size() > limits::short_text_bytes_max) return false;
        bool flag = false;
        std::int64_t number = 0;
        double real = 0;
        Bytes bytes;
        if (!cursor.read_str(text) && !cursor.read_int(number) && !cursor.read_nil() &&
            !cursor.read_bool(flag) && !cursor.read_double(real) && !cursor.read_bin(bytes)) {
            return false;
        }
    }
    return before - cursor.remaining() <= limits::headers_bytes_max;
}

// Type-checks a property map without decoding it. False: malformed.
bool check_properties(Bytes properties, Wishes& wishes) {
    wire::Cursor cursor(properties);
    std::uint32_t count = 0;
    if (!cursor.read_map(count)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::uint64_t key = 0;
        if (!cursor.read_uint(key)) return false;
        bool fits = true;
        if (key > UINT8_MAX) {
            if (!cursor.skip()) return false;
            continue;
        }
        switch (static_cast<wire::Property>(key)) {
            case wire::Property::id:
                fits =
                    cursor.read_str(wishes.id) && wishes.id.size() <= limits::short_text_bytes_max;
                break;
            case wire::Property::ordering_key:
                fits = cursor.read_str(wishes.ordering_key) &&
                       wishes.ordering_key.size() <= limits::short_text_bytes_max;
                break;
            case wire::Property::content_type:
            case wire::Property::reply_to:
            case wire::Property::correlation_id: {
                std::string_view text;
                fits = cursor.read_str(text) && text.size() <= limits::short_text_bytes_max;
                break;
            }
            case wire::Property::headers:
                fits = check_headers(cursor);
                break;
            case wire::Property::expires_at:
                fits = cursor.read_uint(wishes.expires_at);
                break;
            case wire::Property::deliver_at:
                fits = cursor.read_uint(wishes.deliver_at);
                break;
            case wire::Property::published_at: {
                std::uint64_t number = 0;
                fits = cursor.read_uint(number);
                break;
            }
            case wire::Property::priority: {
                std::uint64_t number = 0;
                fits = cursor.read_uint(number) && number <= limits::priority_max;
                if (fits) wishes.priority = static_cast<std::uint8_t>(number);
                break;
            }
            default:
                fits = cursor.skip();
        }
        if (!fits) return false;
    }
    return cursor.at_end();
}

// Neighbours of one fate are one run.
void add_plan(std::vector<PublishPlan>& plans, const PublishPlan& plan) {
    if (!plans.empty()) {
        PublishPlan& last = plans.back();
        if (last.fate == plan.fate && last.route == plan.route && last.code == plan.code &&
            last.deliver_at == plan.deliver_at && last.expires_at == plan.expires_at &&
            last.id_hash == plan.id_hash && last.priority == plan.priority &&
            last.repeated == plan.repeated && last.full == plan.full) {
            ++last.count;
            last.bytes += plan.bytes;
            return;
        }
    }
    plans.push_back(plan);
}

}  // namespace

std::string_view id_of(Bytes properties) {
    Wishes wishes;
    return properties.size() > 1 && check_properties(properties, wishes) ? wishes.id
                                                                         : std::string_view{};
}

std::string refusal_text(Code code, const PublishCommand& command) {
    switch (code) {
        case Code::no_route:
            return "no queue is bound for the routing key of this mandatory message";
        case Code::no_such_exchange:
            return "the exchange of this message does not exist; declare it first";
        case Code::bad_option:
            return "deliver at is at most 100 years ahead";
        case Code::limit_reached:
            return "the message would reach more than 4096 queues";
        case Code::queue_full:
            return "a queue that this message would reach is full; publish it again later";
        case Code::disk_full:
            return "the disk is full; publishing resumes by itself when there is space";
        case Code::fenced:
            return "a newer epoch of this producer exists";
        case Code::no_such_producer:
            return "producer handle " + std::to_string(command.producer) + " is not open here";
        case Code::sequence_gap:
            return "sequence " + std::to_string(command.first) + " does not follow on the mark";
        default:
            return std::string(wire::code_info(code).meaning);
    }
}

std::string Engine::State::text_of_refusal(Code code, const PublishCommand& command, QueueId full) {
    if (full != 0) return text_of_full(full);
    return code == Code::permission_denied ? denied : refusal_text(code, command);
}

void Engine::State::refuse(const PublishCommand& command, Range<Sequence> sequences, Code code,
                           bool gated_by_log, QueueId full) {
    totals.refused += sequences.last - sequences.first + 1;
    Refuse effect{command.session, command.producer, sequences, code,
                  text_of_refusal(code, command, full)};
    if (gated_by_log) {
        after(last_gate, std::move(effect));
    } else {
        effects.push_back(std::move(effect));
    }
}

void Engine::State::open_sequences(Producer& producer, Range<Sequence> sequences) {
    producer.open.add(sequences);
    producer.mark = std::max(producer.mark, sequences.last);
    auto& unlogged = producer.open_unlogged;
    if (!unlogged.empty() && unlogged.back().last + 1 == sequences.first) {
        unlogged.back().last = sequences.last;
    } else {
        unlogged.push_back(sequences);
    }
}

void Engine::State::log_open_sequences(Producer& producer) {
    if (FERRY_PLANTED("engine-refused-sequence-not-logged")) producer.open_unlogged.clear();
    if (producer.open_unlogged.empty()) return;
    body.clear();
    put_u8(body, static_cast<std::uint8_t>(RecordType::producer_open));
    put_varint(body, producer.number);
    put_ranges(body, producer.open_unlogged);
    producer.open_unlogged.clear();
    append(body);
}

/// One command being planned.
struct Engine::State::Planning {
    const PublishCommand& command;
    const Producer& producer;
    Now now;
    const Rights* rights = nullptr;  // null: everything
    bool forbidden = false;          // by them, to the message's exchange or queue
    bool stopped = false;            // in order: something was refused, nothing behind it is taken
    std::string_view last_exchange = {};
    std::string_view last_key = {};
    const Route* last_route = nullptr;
    RouteTraits traits = {};     // of the message's route
    IdWindow* window = nullptr;  // of its only queue, if that has remembered ids before
    wire::Cursor cursor{command.messages};
    std::uint32_t read = 0;  // messages
};

// What the queues of a route have that plain ones do not.
Engine::State::RouteTraits Engine::State::traits_of(const Route& route) const {
    RouteTraits traits;
    for (const QueueId id : route.queues) {
        const Queue& queue = *queue_table[id];
        const QueuePolicy& policy = queue.options.policy;
        traits.ordered = traits.ordered || queue.gate != nullptr;
        traits.guarded = traits.guarded || policy.rejects_publish();
        traits.priorities = traits.priorities || policy.priorities;
        traits.all_heed = traits.all_heed && policy.priorities;
        traits.dedupes = traits.dedupes || policy.dedupe_window_ms != 0;
    }
    return traits;
}

// Once for all neighbours with one exchange and key.
void Engine::State::check_rights(Planning& planning, const wire::MessageView& message) {
    planning.forbidden = !permits_publish(*planning.rights, message.exchange, message.routing_key);
    if (!planning.forbidden || !denied.empty()) return;
    denied = lack_text(*planning.rights, Right::write,
                       message.exchange.empty() ? message.routing_key : message.exchange);
}

const Route* Engine::State::find_route(Planning& planning, const wire::MessageView& message) {
    if (planning.last_route != nullptr && message.routing_key == planning.last_key &&
        message.exchange == planning.last_exchange) {
        return planning.last_route;
    }
    const Route* route = &topology.route(message);
    planning.last_route = route->by_headers ? nullptr : route;
    planning.last_key = message.routing_key;
    planning.last_exchange = message.exchange;
    if (route->by_headers) route = &uncached_routes.emplace_back(*route);
    planning.traits = traits_of(*route);
    if (planning.rights != nullptr) check_rights(planning, message);
    planning.window = planning.traits.dedupes && route->queues.size() == 1
                          ? window_of(*queue_of(route->queues.front()))
                          : nullptr;
    return route;
}

bool Engine::State::has_consumer(const Route& route) const {
    return std::any_of(route.queues.begin(), route.queues.end(), [this](QueueId id) {
        const Queue* queue = queue_of(id);
        return !queue->subscriptions.empty() || !queue->waiting_pulls.empty();
    });
}

// Why a message that is no duplicate is refused; ok: it is not.
Code Engine::State::refusal_of(const Planning& planning, const wire::MessageView& message,
                               const Route& route, std::uint64_t deliver_at) const {
    const bool mandatory = (planning.command.flags & wire::publish_mandatory) != 0;
    if (planning.stopped) return Code::sequence_gap;
    if (planning.forbidden) return Code::permission_denied;
    if (disk_full) return Code::disk_full;
    if (message.payload.size() > settings.payload_bytes_max) return Code::message_too_large;
    if (deliver_at > planning.now.wall_ms + deliver_ahead_ms_max) return Code::bad_option;
    if (!route.exchange_exists || route.exchange_internal) return Code::no_such_exchange;
    if (route.too_many) return Code::limit_reached;
    if (route.queues.empty() && mandatory) return Code::no_route;
    if ((planning.command.flags & wire::publish_to_consumer) != 0 && !has_consumer(route))
        return Code::no_consumer;
    return Code::ok;
}

// The next message of the command. Null: it is malformed.
const ReadMessage* Engine::State::read_next(Planning& planning, std::uint32_t index) {
    const bool by_id = planning.traits.dedupes && planning.last_route != nullptr;
    const std::uint32_t upto =
        by_id ? std::min(planning.command.count, index + messages_ahead_max) : index + 1;
    for (; planning.read < upto; ++planning.read) {
        ReadMessage& next = messages_ahead[planning.read % messages_ahead.size()];
        next.wishes = {};
        next.hashed = false;
        if (!wire::read_message(planning.cursor, next.view)) return nullptr;
        if (next.view.properties.size() > 1 &&
            !check_properties(next.view.properties, next.wishes)) {
            return nullptr;
        }
        if (!by_id || next.wishes.id.empty()) continue;
        next.id = hash_id(settings.id_key_low, settings.id_key_high, next.wishes.id);
        next.hashed = true;
        if (planning.window != nullptr) {
            planning.window->expect(next.id);
        } else {
            expect_id(*planning.last_route, next.id);
        }
    }
    return &messages_ahead[index % messages_ahead.size()];
}

bool Engine::State::plan_publish(const PublishCommand& command, const Producer& producer, Now now) {
    plans.clear();
    plans_open = 0;
    uncached_routes.clear();
    topology.trim_routes();
    ++plan_number;
    planned_ids.clear();
    plans_sortable = true;
    Planning planning{command, producer, now};
    denied.clear();
    if (const Session* session = session_of(command.session))
        planning.rights = session->rights.get();
    const bool in_order = (command.flags & wire::publish_in_order) != 0;
    std::uint32_t offset = 0;
    for (std::uint32_t i = 0; i < command.count; ++i) {
        const ReadMessage* const next = read_next(planning, i);
        if (next == nullptr) return false;
        const wire::MessageView& message = next->view;
        const Wishes& wishes = next->wishes;
        const std::uint64_t deliver_at = wishes.deliver_at <= now.wall_ms ? 0 : wishes.deliver_at;
        const Route* route = find_route(planning, message);
        PublishPlan plan;
        plan.route = route;
        plan.count = 1;
        plan.offset = offset;
        plan.bytes = static_cast<std::uint32_t>(message.whole.size());
        if (planning.traits.ordered)
            planned_keys.add({offset, plan.bytes, KeyGate::number_of(wishes.ordering_key)});
        const Sequence sequence = command.first + i;
        const Sequence mark =
            producer.mark -
            (FERRY_PLANTED("engine-dedupe-off-by-one") && producer.mark > 0 ? 1 : 0);
        if (sequence <= mark && !producer.open.contains(sequence)) {
            plan.fate = PublishPlan::Fate::duplicate;
        } else {
            plan.code = refusal_of(planning, message, *route, deliver_at);
            const bool by_id = planning.traits.dedupes && !wishes.id.empty();
            IdHash id;
            if (by_id && plan.code == Code::ok) {
                id = next->hashed ? next->id
                                  : hash_id(settings.id_key_low, settings.id_key_high, wishes.id);
                if (planning.window == nullptr || planning.window->contains(id))
                    leave_out_repeats(plan, id);
            }
            if (plan.code == Code::ok && planning.traits.guarded) take_room(*plan.route, plan);
            if (by_id && plan.code == Code::ok) remember_id(plan, id, planning.window);
            if (plan.code != Code::ok) {
                plan.fate = PublishPlan::Fate::refuse;
            } else if (plan.route->queues.empty()) {
                plan.fate = PublishPlan::Fate::drop;
            }
        }
        if (plan.fate == PublishPlan::Fate::store) {
            plans_sortable = plans_sortable && planning.traits.all_heed;
            plan.deliver_at = deliver_at;
            plan.expires_at = wishes.expires_at;
            if (planning.traits.priorities) plan.priority = wishes.priority;
            if (plan.deliver_at != 0 && !wishes.id.empty()) plan.id_hash = hash_of_id(wishes.id);
        }
        if (plan.fate == PublishPlan::Fate::refuse) {
            plan.route = nullptr;
            planning.stopped = in_order;
            if (!in_order && sequence > producer.mark) ++plans_open;
        }
        offset += plan.bytes;
        add_plan(plans, plan);
    }
    return planning.cursor.at_end();
}

void Engine::State::write_publish(const PublishCommand& command, Producer& producer, Now now,
                                  bool repeated) {
    if (record.sequences == 0) return;
    log_open_sequences(producer);
    record.wall_ms = now.wall_ms;
    record.producer = producer.number;
    record.settled = command.settled;
    head.clear();
    if (std::all_of(record.runs.begin(), record.runs.end(),
                    [](const Run& run) { return run.plain(); })) {
        encode_publish_head(head, record);
    } else {
        encode_transaction_head(head, record);
    }
    parts.front() = head;
    const Journal::Place place = append(parts);
    // Who does not wait for the confirm does not make the log be written for it.
    const Position waited_for = awaited;
    const Confirm confirm{command.session,
                          command.producer,
                          {record.first, record.first + record.sequences - 1},
                          false,
                          repeated};
    if (FERRY_PLANTED("engine-confirmed-before-it-is-durable")) {
        effects.push_back(confirm);
    } else {
        after(place.position, confirm);
    }
    if ((command.flags & wire::publish_unhurried) != 0) awaited = waited_for;
    apply_publish(place, record, std::span(parts).subspan(1));
    record.clear();
}

// Appends what is to be stored to the record in the making.
void Engine::State::add_run(const PublishPlan& plan, Bytes messages) {
    if (!record.runs.empty() && plan.route == last_run_route &&
        plan.deliver_at == record.runs.back().deliver_at &&
        plan.expires_at == record.runs.back().expires_at &&
        plan.id_hash == record.runs.back().id_hash &&
        plan.priority == record.runs.back().priority) {
        record.runs.back().count += plan.count;
        record.runs.back().bytes += plan.bytes;
        return add_part(messages.subspan(plan.offset, plan.bytes));
    }
    last_run_route = plan.route;
    const auto targets_first = static_cast<std::uint32_t>(record.targets.size());
    for (const QueueId id : plan.route->queues) {
        const Queue* queue = queue_of(id);
        FERRY_ASSERT(queue != nullptr, "routes name queues that exist");
        record.targets.push_back({id, plan.deliver_at == 0 && counts_as_delivered(*queue)});
    }
    record.runs.push_back({plan.count, plan.bytes, targets_first,
                           static_cast<std::uint32_t>(record.targets.size()) - targets_first,
                           plan.deliver_at, plan.expires_at, plan.id_hash, plan.priority});
    add_part(messages.subspan(plan.offset, plan.bytes));
}

void Engine::State::add_part(Bytes bytes) {
    if (parts.size() > 1 && parts.back().data() + parts.back().size() == bytes.data()) {
        parts.back() = Bytes(parts.back().data(), parts.back().size() + bytes.size());
    } else {
        parts.push_back(bytes);
    }
}

// Brings messages of one priority together, which makes one run of them and one index entry. Only
// where all queues of the command heed priorities: in those, nobody sees another order.
void Engine::State::sort_plans_by_priority() {
    const auto stored = [](const PublishPlan& plan) {
        return plan.fate == PublishPlan::Fate::store && !plan.repeated;
    };
    // Of a command that takes several records, a crash may leave the first sequences only: these
    // must be the first messages.
    std::size_t targets = 0;
    for (const PublishPlan& plan : plans)
        targets += plan.route == nullptr ? 0 : plan.route->queues.size();
    if (targets > targets_per_record_max) return;
    for (auto begin = plans.begin(); begin != plans.end();) {
        begin = std::find_if(begin, plans.end(), stored);
        const auto end = std::find_if_not(begin, plans.end(), stored);
        by_priority.clear();
        for (std::uint8_t level = limits::priority_max + 1; level-- > 0;) {
            std::copy_if(begin, end, std::back_inserter(by_priority),
                         [&](const PublishPlan& plan) { return plan.priority == level; });
        }
        std::copy(by_priority.begin(), by_priority.end(), begin);
        begin = end;
    }
}

void Engine::State::carry_out_plans(const PublishCommand& command, Producer& producer, Now now) {
    Sequence sequence = command.first;
    const auto begin_record = [&] {
        record.clear();
        parts.assign(1, Bytes{});
    };
    begin_record();
    if (plans_sortable && plans.size() > 2) sort_plans_by_priority();
    bool repeated = false;  // of the record in the making
    for (const PublishPlan& plan : plans) {
        const Range<Sequence> sequences{sequence, sequence + plan.count - 1};
        sequence += plan.count;
        if (plan.fate == PublishPlan::Fate::duplicate || plan.fate == PublishPlan::Fate::refuse) {
            write_publish(command, producer, now, repeated);
            begin_record();
            if (plan.fate == PublishPlan::Fate::duplicate) {
                totals.duplicates += plan.count;
                Confirm confirm{command.session, command.producer, sequences, true};
                if (last_gate < durable) {
                    effects.push_back(confirm);
                } else {
                    after(last_gate, confirm);  // the first copy may not be durable yet
                }
                continue;
            }
            if ((command.flags & wire::publish_in_order) != 0) {
                // The mark stays below it: what was sent after it does not follow on any more.
                refuse(command, sequences, plan.code, false, plan.full);
                continue;
            }
            open_sequences(producer, sequences);
            if (!disk_full) log_open_sequences(producer);
            refuse(command, sequences, plan.code, !disk_full, plan.full);
            continue;
        }
        if (plan.repeated != repeated) {  // confirmed apart
            write_publish(command, producer, now, repeated);
            begin_record();
            repeated = plan.repeated;
        }
        if (record.sequences == 0) record.first = sequences.first;
        record.sequences += plan.count;
        if (plan.fate == PublishPlan::Fate::drop) {
            if (!plan.repeated) totals.unroutable += plan.count;
            continue;
        }
        add_run(plan, command.messages);
        if (record.targets.size() > targets_per_record_max) {
            write_publish(command, producer, now, repeated);
            begin_record();
        }
    }
    write_publish(command, producer, now, repeated);
}

bool Engine::State::publish(const PublishCommand& command, Now now) {
    see(now);
    Session* session = session_of(command.session);
    FERRY_ASSERT(session != nullptr, "the driver opened the session");
    if (command.count == 0 || command.count > limits::messages_per_frame_max ||
        command.first == 0 || command.first + command.count < command.first) {
        return false;
    }
    const Range<Sequence> all{command.first, command.first + command.count - 1};
    const auto handle = session->producers.find(command.producer);
    if (handle == session->producers.end()) {
        refuse(command, all, Code::no_such_producer, false);
        return true;
    }
    Producer* producer = producers.find(handle->second.number);
    if (producer == nullptr || producer->epoch != handle->second.epoch) {
        refuse(command, all, Code::fenced, false);
        return true;
    }
    if (command.first > producer->mark + 1) {
        refuse(command, all, Code::sequence_gap, false);
        return true;
    }
    const PlannedKeys::Command keys(planned_keys, command.messages);
    if (!plan_publish(command, *producer, now)) {
        forget_planned_ids();
        return false;
    }
    if (producer->open.size() > 0) producer->open.remove_upto(command.settled);
    if (plans_open > 0 && producer->open.size() + plans_open > limits::open_sequences_max) {
        forget_planned_ids();
        effects.push_back(
            CloseSession{command.session, Code::limit_reached,
                         "too many refused sequences are open; send `settled` with publish"});
        return true;
    }
    totals.published += command.count;
    carry_out_plans(command, *producer, now);
    return true;
}

void Engine::State::enter(Queue& queue, const Run& run, std::span<const Extent> extents,
                          std::uint64_t wall_ms) {
    if (run.expires_at != 0 || queue.options.policy.message_ttl_ms != 0) {
        for (const Extent& extent : extents) note_expiry(queue, run, extent, wall_ms);
    }
    if (run.deliver_at != 0) {
        for (const Extent& extent : extents) schedule(queue, run, extent);
    } else {
        account(queue, [&](ReadyQueue& ready) { ready.append(extents); });
    }
}

// `at`, `offset`: in the run.
void Engine::State::add_keyed(const Extent& run, std::uint32_t at, std::size_t offset,
                              std::size_t bytes, KeyNumber key) {
    if (!keyed_extents.empty() && keyed_extents.back().key == key) {
        Extent& last = keyed_extents.back();
        last.set_count(last.count + 1);
        last.bytes += static_cast<std::uint32_t>(bytes);
        return;
    }
    Extent& one = keyed_extents.emplace_back();
    one.first = run.first + at;
    one.bytes = static_cast<std::uint32_t>(bytes);
    one.key = key;
    one.count = 1;
    one.exact = true;
    one.set_offset(run.offset() + static_cast<std::uint32_t>(offset));
    one.index = static_cast<std::uint16_t>(run.index + at);
}

// Without reading the messages once more. False: that was not planned, or not by this command.
bool Engine::State::split_as_planned(Bytes messages, const Extent& run) {
    const std::span<const PlannedKeys::Message> planned = planned_keys.find(messages, run.count);
    for (std::uint32_t i = 0; i < planned.size(); ++i) {
        const PlannedKeys::Message& message = planned[i];
        add_keyed(run, i, message.offset - planned.front().offset, message.bytes, message.key);
    }
    return !planned.empty();
}

// A run as the index of an ordered queue has it: one extent per run of one key.
void Engine::State::split_by_key(Bytes messages, const Extent& run) {
    keyed_extents.clear();
    if (split_as_planned(messages, run)) return;
    wire::Cursor cursor(messages);
    wire::MessageView message;
    for (std::uint32_t i = 0; i < run.count; ++i) {
        if (!wire::read_message(cursor, message)) {
            replay_broken = true;  // live: checked when the publish was planned
            return;
        }
        add_keyed(run, i, static_cast<std::size_t>(message.whole.data() - messages.data()),
                  message.whole.size(),
                  KeyGate::number_of(wire::ordering_key_of(message.properties)));
    }
}

// The bytes of a run that begins `skip` bytes into messages[part].
Bytes Engine::State::bytes_of_run(std::span<const Bytes> messages, std::size_t part,
                                  std::size_t skip, std::size_t size) {
    FERRY_ASSERT(part < messages.size(), "whoever publishes hands the messages over");
    if (messages[part].size() - skip >= size) return messages[part].subspan(skip, size);
    run_bytes.clear();
    for (; run_bytes.size() < size; ++part, skip = 0) {
        FERRY_ASSERT(part < messages.size(), "a record's runs are as long as its messages");
        const Bytes bytes = messages[part].subspan(skip).first(
            std::min(messages[part].size() - skip, size - run_bytes.size()));
        run_bytes.insert(run_bytes.end(), bytes.begin(), bytes.end());
    }
    return run_bytes;
}

// `messages`: the bytes of the record's messages, in order.
void Engine::State::apply_publish(const Journal::Place& place, const PublishRecord& r,
                                  std::span<const Bytes> messages) {
    if (replaying) replay_clock(r.wall_ms);
    std::uint32_t index = 0;
    std::size_t offset = r.messages_offset;
    std::size_t part = 0;  // of `messages`
    std::size_t part_offset = r.messages_offset;
    std::uint64_t references = 0;
    std::uint64_t bytes = 0;
    for (const Run& run : r.runs) {
        while (part < messages.size() && part_offset + messages[part].size() <= offset)
            part_offset += messages[part++].size();
        Extent extent;
        extent.first = place.position + index;
        extent.set_count(run.count);
        extent.index = static_cast<std::uint16_t>(index);
        extent.set_offset(static_cast<std::uint32_t>(offset));
        extent.bytes = run.bytes;
        extent.exact = true;
        bool split = false;
        for (std::uint32_t i = 0; i < run.targets_count; ++i) {
            const Target& target = r.targets[run.targets_first + i];
            Queue* queue = queue_of(target.queue);
            if (queue == nullptr) continue;  // replay: deleted later
            if (replaying && queue->ready.back_end() > extent.first) {
                replay_broken = true;  // a checkpoint of another log
                return;
            }
            references += extent.count;
            bytes += extent.bytes;
            queue->published += extent.count;
            const bool levels = queue->options.policy.priorities && queue->gate == nullptr;
            extent.level = levels ? run.priority & 0xfU : 0U;
            if (replaying && (r.producer != 0 || r.submits()) &&
                queue->options.policy.dedupe_window_ms != 0)
                replay_ids(*queue, run, extent.offset());
            if (queue->gate != nullptr && !split) {
                split_by_key(bytes_of_run(messages, part, offset - part_offset, run.bytes), extent);
                split = true;
            }
            const std::span<const Extent> whole(&extent, 1);
            enter(*queue, run, queue->gate == nullptr ? whole : keyed_extents, r.wall_ms);
            if (run.deliver_at != 0) continue;
            if (queue->options.policy.trims() && !replaying) mark_dirty(*queue);
            if (target.immediate) queue->carry_horizon(extent.end());
            if (!queue->subscriptions.empty()) {
                if (queue->options.durable || replaying) {
                    await_log(*queue, place.position);
                } else {
                    mark_dirty(*queue);
                }
            }
            spill(*queue);
        }
        index += run.count;
        offset += run.bytes;
    }
    if (references > 0) live.add(place.position, references, bytes);
    const bool forgets = replaying && FERRY_PLANTED("engine-dedupe-in-memory-only");
    if (r.producer != 0 && !forgets) {
        Producer* producer = producers.find(r.producer);
        if (producer != nullptr) Producers::advance(*producer, r.first, r.sequences, r.settled);
    }
}

}  // namespace ferry::engine
