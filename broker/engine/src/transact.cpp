// Transactions: publishes and settlements in one record.
//
// A transaction is one sequence of its producer, whatever is in it, so that a client that lost its
// connection can ask what became of it: taken (all of it is there), open (refused, or given up with
// `hold`: none of it is there or ever will be), or beyond the mark (the broker never saw it). An
// open sequence is closed to transactions for good: a copy that is still under way on the old
// connection cannot be carried out after the client was told that it was not.

#include <algorithm>
#include <array>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/verbs.hpp"
#include "state.hpp"
#include "take_parts.hpp"

namespace ferry::engine {
namespace {

std::string text_of(Range<Tag> tags) {
    const std::string first = std::to_string(tags.first);
    return tags.first == tags.last ? "tag " + first
                                   : "tags " + first + " to " + std::to_string(tags.last);
}

// What is told when it is done, and when it is not.
Effect done(const TransactionCommand& command, Range<Sequence> sequences, bool duplicate) {
    const std::uint32_t messages = duplicate ? 0 : command.count;
    if (command.told_by_sequence) {
        return Confirm{command.session, command.producer, sequences, duplicate, false, true,
                       messages};
    }
    return Reply{command.session, command.request, TransactionAnswer{duplicate, messages}};
}
Effect refused(const TransactionCommand& command, Code code, std::string text) {
    if (command.told_by_sequence) {
        return Refuse{command.session,
                      command.producer,
                      {command.sequence, command.sequence},
                      code,
                      std::move(text)};
    }
    return Reply{command.session, command.request, Failure{code, std::move(text)}};
}

// Deliveries of a queue join the group before, so that a batch of acks is one group.
void add_span(std::vector<QueueSpans>& groups, QueueId queue, const Extent& extent) {
    auto group = std::find_if(groups.rbegin(), groups.rend(), [&](const QueueSpans& g) {
        return g.queue == queue && g.spans.back().level == extent.level;
    });
    if (group == groups.rend()) {
        groups.push_back({queue, {{extent.first, extent.count, extent.level}}});
        return;
    }
    std::vector<Span>& spans = group->spans;
    if (spans.back().first + spans.back().count == extent.first) {
        spans.back().count += extent.count;
    } else {
        spans.push_back({extent.first, extent.count, extent.level});
    }
}

}  // namespace

// False: `why` and `code` say what is wrong. Nothing is changed either way.
bool Engine::State::find_settlements(const TransactionCommand& command, Settlements& out,
                                     std::string& why, Code& code) {
    struct Named {
        std::uint64_t subscription;
        Range<Tag> tags;
    };
    std::vector<Named> named;
    std::vector<Range<Tag>> lost;
    std::size_t pieces = 0;
    for (const TransactionPart& part : command.parts) {
        Subscription* s = subscription_of(command.session, part.subscription);
        const auto name = [&] { return "subscription " + std::to_string(part.subscription); };
        if (s == nullptr) {
            code = Code::lease_lost;
            why = "there is no " + name() + " on this connection";
            return false;
        }
        out.subscriptions.push_back(s);
        for (const Range<Tag>& tags : part.tags) {
            if (tags.first == 0 || tags.first > tags.last || tags.last == UINT64_MAX) {
                code = Code::bad_option;
                why = "tags begin at 1 and a range's first is not above its last";
                return false;
            }
            pieces += find_lost(*s, tags, lost);
            if (FERRY_PLANTED("engine-transaction-without-its-leases")) lost.clear();
            if (!lost.empty()) {
                code = Code::lease_lost;
                why = "the lease of " + text_of(lost.front()) + " of " + name() +
                      " ended before; nothing was changed";
                return false;
            }
            named.push_back({part.subscription, tags});
        }
    }
    if (pieces > limits::transaction_pieces_max) {
        code = Code::limit_reached;
        why = "a transaction settles at most 16384 separate runs of deliveries";
        return false;
    }
    std::sort(named.begin(), named.end(), [](const Named& a, const Named& b) {
        return std::pair(a.subscription, a.tags.first) < std::pair(b.subscription, b.tags.first);
    });
    const auto twice =
        std::adjacent_find(named.begin(), named.end(), [](const Named& a, const Named& b) {
            return a.subscription == b.subscription && b.tags.first <= a.tags.last;
        });
    if (twice == named.end()) return true;
    code = Code::bad_option;
    why = "the transaction names " + text_of(std::next(twice)->tags) + " of subscription " +
          std::to_string(twice->subscription) + " twice";
    return false;
}

void Engine::State::refuse_transaction(const TransactionCommand& command, Producer& producer,
                                       Code code, std::string text) {
    ++totals.transactions_refused;
    forget_planned_ids();
    open_sequences(producer, {command.sequence, command.sequence});
    Effect answer = refused(command, code, std::move(text));
    if (disk_full) {
        effects.push_back(std::move(answer));
        return;
    }
    log_open_sequences(producer);
    after(last_gate, std::move(answer));
}

// Brings messages of one queue together, which makes one run of them and one index entry: a
// transaction has messages for several queues in turn. Only where each goes to one queue, and to a
// few in all: in none of them anybody sees another order.
void Engine::State::sort_plans_by_queue() {
    constexpr std::size_t queues_max = 16;
    constexpr std::size_t plans_min = 4;
    if (plans.size() < plans_min) return;
    std::array<QueueId, queues_max> ids{};
    std::array<std::size_t, queues_max + 1> begins{};
    std::size_t queues_found = 0;
    const auto find = [&](QueueId id) {
        return static_cast<std::size_t>(std::find(ids.begin(), ids.begin() + queues_found, id) -
                                        ids.begin());
    };
    std::erase_if(plans, [&](const PublishPlan& plan) {
        if (plan.fate != PublishPlan::Fate::drop) return false;
        if (!plan.repeated) totals.unroutable += plan.count;
        return true;
    });
    for (const PublishPlan& plan : plans) {
        if (plan.route->queues.size() != 1) return;
        const QueueId id = plan.route->queues.front();
        const std::size_t at = find(id);
        if (at == queues_max) return;
        if (at == queues_found) ids[queues_found++] = id;
        ++begins[at + 1];
    }
    for (std::size_t i = 1; i <= queues_found; ++i) begins[i] += begins[i - 1];
    by_queue.resize(plans.size());
    for (const PublishPlan& plan : plans)
        by_queue[begins[find(plan.route->queues.front())]++] = plan;
    plans.swap(by_queue);
}

// `sequences`: so many transactions that came together, beginning with that of `command`, which has
// all that is in them.
void Engine::State::write_transaction(const TransactionCommand& command, Producer& producer,
                                      const Settlements& settlements, Now now,
                                      std::uint64_t sequences) {
    totals.transactions += sequences;
    totals.published += command.count;
    log_open_sequences(producer);
    record.clear();
    parts.assign(1, Bytes{});
    record.wall_ms = now.wall_ms;
    record.producer = producer.number;
    record.first = command.sequence;
    record.sequences = sequences;
    record.settled = command.settled;
    sort_plans_by_queue();
    for (const PublishPlan& plan : plans) {
        if (plan.fate == PublishPlan::Fate::drop) {
            if (!plan.repeated) totals.unroutable += plan.count;
        } else {
            add_run(plan, command.messages);
        }
    }
    std::vector<Range<Tag>> lost;
    for (std::size_t i = 0; i < command.parts.size(); ++i) {
        Subscription& s = *settlements.subscriptions[i];
        Queue& queue = *s.queue;
        const bool letters = command.parts[i].reject && queue.options.policy.dead_letters();
        if (letters) record.rejects.push_back({queue.id, {}});
        for (const Range<Tag>& tags : command.parts[i].tags) {
            take_parts(s, tags, lost, [&](Tag, const Chunk& chunk) {
                if (letters) {
                    record.rejects.back().parts.emplace_back(chunk.extent, chunk.attempts);
                    return;
                }
                add_span(record.acks, queue.id, chunk.extent);
                live.remove(chunk.extent.record(), chunk.extent.count, chunk.extent.bytes);
                if (queue.gate != nullptr) queue.gate->gone(chunk.extent, chunk.key_hint);
                queue.acked += chunk.extent.count;
                totals.acked += chunk.extent.count;
            });
        }
        mark_dirty(queue);
    }
    if (FERRY_PLANTED("engine-transaction-acks-not-logged")) record.acks.clear();
    if (FERRY_PLANTED("engine-transaction-without-its-leases")) lost.clear();
    FERRY_ASSERT(lost.empty(), "find_settlements() looked for what is lost");
    head.clear();
    encode_transaction_head(head, record);
    parts.front() = head;
    const Journal::Place place = append(parts);
    Leaving like;
    like.wall_ms = record.wall_ms;
    for (const QueueRejects& group : record.rejects) {
        for (const auto& [extent, attempts] : group.parts) {
            like.attempts = attempts;
            apply_leave(*queue_of(group.queue), extent, like);
        }
    }
    after(place.position,
          done(command, {command.sequence, command.sequence + sequences - 1}, false));
    apply_publish(place, record, std::span(parts).subspan(1));
    record.clear();
}

// Plans the messages. False: they are malformed. `code` and `why` say what refuses them, if
// anything does.
bool Engine::State::plan_transaction(const TransactionCommand& command, Now now, std::string& why,
                                     Code& code) {
    const PublishCommand publish{
        command.session, command.producer, 1, command.flags & wire::publish_mandatory, 0,
        command.count,   command.messages};
    plans.clear();
    planned_ids.clear();
    if (command.count == 0) return command.messages.empty();
    // Planned as if by a new producer: a transaction's messages have no sequences of their own.
    if (!plan_publish(publish, Producer{}, now)) {
        forget_planned_ids();
        return false;
    }
    std::uint64_t number = 1;
    std::size_t targets = 0;
    for (const PublishPlan& plan : plans) {
        if (plan.fate == PublishPlan::Fate::refuse) {
            code = plan.code;
            why = "message " + std::to_string(number) +
                  " of the transaction: " + text_of_refusal(plan.code, publish, plan.full);
            return true;
        }
        number += plan.count;
        if (plan.fate == PublishPlan::Fate::store) targets += plan.route->queues.size();
    }
    if (targets > limits::transaction_targets_max) {
        code = Code::limit_reached;
        why = "a transaction's runs of messages reach at most 65536 queues in all";
    }
    return true;
}

// Whoever settles something lives, be it too late for that.
void Engine::State::hear(const TransactionCommand& command, Now now) {
    for (const TransactionPart& part : command.parts) {
        Subscription* s = subscription_of(command.session, part.subscription);
        if (s != nullptr) heard(*s, now);
    }
}

// False: malformed.
bool Engine::State::carry_out(const TransactionCommand& command, Producer& producer, Now now) {
    Code code = Code::ok;
    std::string why;
    if (!plan_transaction(command, now, why, code)) return false;
    hear(command, now);
    Settlements settlements;
    if (code != Code::ok || !find_settlements(command, settlements, why, code)) {
        refuse_transaction(command, producer, code, std::move(why));
        return true;
    }
    write_transaction(command, producer, settlements, now);
    return true;
}

bool Engine::State::transact(const TransactionCommand& command, Now now) {
    see(now);
    Session* session = session_of(command.session);
    FERRY_ASSERT(session != nullptr, "the driver opened the session");
    const auto fail = [&](Code code, std::string text) {
        effects.push_back(refused(command, code, std::move(text)));
        return true;
    };
    const auto handle = session->producers.find(command.producer);
    if (handle == session->producers.end()) {
        return fail(Code::no_such_producer,
                    "producer handle " + std::to_string(command.producer) + " is not open here");
    }
    Producer* producer = producers.find(handle->second.number);
    if (producer == nullptr || producer->epoch != handle->second.epoch)
        return fail(Code::fenced, "a newer epoch of this producer exists");
    if (command.sequence == 0 || command.sequence > producer->mark + 1) {
        return fail(Code::sequence_gap, "sequence " + std::to_string(command.sequence) +
                                            " does not follow on the mark");
    }
    if (producer->open.size() > 0) producer->open.remove_upto(command.settled);
    if (command.sequence <= producer->mark) {
        if (producer->open.contains(command.sequence)) {
            return fail(Code::transaction_over,
                        "this transaction was refused or given up; take a new sequence");
        }
        ++totals.duplicates;
        Effect told = done(command, {command.sequence, command.sequence}, true);
        if (last_gate < durable) {
            effects.push_back(std::move(told));
        } else {
            after(last_gate, std::move(told));
        }
        return true;
    }
    if (producer->open.size() >= limits::open_sequences_max) {
        effects.push_back(CloseSession{command.session, Code::limit_reached,
                                       "too many refused transactions are open; send `settled`"});
        return true;
    }
    return carry_out(command, *producer, now);
}

bool Engine::transact(const TransactionCommand& command, Now now) {
    return state_->transact(command, now);
}

}  // namespace ferry::engine
