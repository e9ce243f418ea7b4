#include "native/decode.hpp"

#include <algorithm>

#include "ferry/transport/message.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/verbs.hpp"
#include "native/read_map.hpp"

namespace ferry::transport::native {
namespace {

using wire::Cursor;

/// An id, in whatever form the broker shows it.
bool read_id(Cursor& cursor, std::string& out) {
    if (read_text(cursor, out)) return true;
    std::uint64_t number = 0;
    if (cursor.read_uint(number)) {
        out = std::to_string(number);
        return true;
    }
    Bytes bytes;
    if (!cursor.read_bin(bytes) || bytes.size() > 64) return false;
    static constexpr char digits[] = "0123456789abcdef";
    out.clear();
    for (const std::byte byte : bytes) {
        out.push_back(digits[std::to_integer<unsigned>(byte) >> 4]);
        out.push_back(digits[std::to_integer<unsigned>(byte) & 15]);
    }
    return true;
}

bool read_headers(Cursor& cursor, wire::Headers& out) {
    // Arguments have the form of a message's headers, and the same limits.
    const std::byte* const begin = cursor.position();
    if (!cursor.next_is_map() || !cursor.skip()) return false;
    wire::Buffer properties;
    wire::Encoder(properties)
        .map(1)
        .uint(static_cast<std::uint64_t>(wire::Property::headers))
        .raw(Bytes(begin, cursor.position()));
    wire::Properties parsed;
    if (!wire::read_properties(properties, parsed)) return false;
    out = std::move(parsed.headers);
    return true;
}

bool read_member(Cursor& cursor, QueueMember& m) {
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "session") return c.read_uint(m.session);
        if (key == "subscription") return c.read_uint(m.subscription);
        if (key == "member") return read_text(c, m.member);
        if (key == "active") return c.read_bool(m.active);
        if (key == "unacked") return c.read_uint(m.unacked);
        if (key == "slots") return c.read_uint(m.slots);
        if (key == "draining") return c.read_uint(m.draining);
        if (key == "queue") return read_text(c, m.queue);
        if (key == "client") return read_text(c, m.client);
        if (key == "pulls") return c.read_bool(m.pulls);
        if (key == "stuck") return c.read_bool(m.stuck);
        if (key == "unacked_bytes") return c.read_uint(m.unacked_bytes);
        if (key == "window_messages") return c.read_uint(m.window_messages);
        if (key == "oldest_ms") return c.read_uint(m.oldest_ms);
        if (key == "lease_ms") return c.read_uint(m.lease_ms);
        if (key == "silent_ms") return c.read_uint(m.silent_ms);
        if (key == "leases_ended") return c.read_uint(m.leases_ended);
        return false;
    });
}

bool read_order(std::string_view key, Cursor& c, QueueInfo& q) {
    if (key == "ordered") return c.read_bool(q.ordered);
    if (key == "single_active") return c.read_bool(q.single_active);
    if (key == "held_keys") return c.read_uint(q.held_keys);
    if (key == "blocked") return c.read_uint(q.blocked);
    if (key != "members") return false;
    return each_element(
        c, [&](Cursor& inner) { return read_member(inner, q.members.emplace_back()); });
}

bool read_queue(Cursor& cursor, QueueInfo& q) {
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "name") return read_text(c, q.name);
        if (key == "durable") return c.read_bool(q.durable);
        if (key == "exclusive") return c.read_bool(q.exclusive);
        if (key == "auto_delete") return c.read_bool(q.auto_delete);
        if (key == "lease_ms") return c.read_uint(q.lease_ms);
        if (key == "ready") return c.read_uint(q.ready);
        if (key == "ready_bytes") return c.read_uint(q.ready_bytes);
        if (key == "unacked") return c.read_uint(q.unacked);
        if (key == "consumers") return c.read_uint(q.consumers);
        if (key == "stuck") return c.read_uint(q.stuck);
        if (key == "published") return c.read_uint(q.published);
        if (key == "delivered") return c.read_uint(q.delivered);
        if (key == "acked") return c.read_uint(q.acked);
        if (key == "returned") return c.read_uint(q.returned);
        if (key == "delayed") return c.read_uint(q.delayed);
        if (key == "leaving") return c.read_uint(q.leaving);
        if (key == "parked") return c.read_uint(q.parked);
        if (key == "dead_lettered") return c.read_uint(q.dead_lettered);
        if (key == "expired") return c.read_uint(q.expired);
        if (key == "dropped") return c.read_uint(q.dropped);
        if (key == "repeated") return c.read_uint(q.repeated);
        if (key == "ids") return c.read_uint(q.ids);
        if (key == "policy") return read_headers(c, q.policy);
        if (key == "declared") return read_headers(c, q.declared);
        if (key == "policy_name") return read_text(c, q.policy_name);
        if (key == "oldest_unacked_ms") return c.read_uint(q.oldest_unacked_ms);
        if (key == "floor") return c.read_uint(q.floor);
        return read_order(key, c, q);
    });
}

bool read_policy(Cursor& cursor, PolicyInfo& p) {
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "name") return read_text(c, p.name);
        if (key == "pattern") return read_text(c, p.pattern);
        if (key == "priority") return c.read_uint(p.priority);
        if (key == "source") return read_text(c, p.source);
        if (key == "queues") return c.read_uint(p.queues);
        if (key == "settings") return read_headers(c, p.settings);
        return false;
    });
}

bool read_schedule(Cursor& cursor, ScheduleInfo& s) {
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "name") return read_text(c, s.name);
        if (key == "cron") return read_text(c, s.cron);
        if (key == "zone") return read_text(c, s.zone);
        if (key == "missed") return read_text(c, s.missed);
        if (key == "paused") return c.read_bool(s.paused);
        if (key == "next_ms") return c.read_uint(s.next_ms);
        if (key == "last_ms") return c.read_uint(s.last_ms);
        if (key == "fired") return c.read_uint(s.fired);
        if (key == "skipped") return c.read_uint(s.skipped);
        if (key == "reached") return c.read_uint(s.reached);
        wire::MessageView view;
        return key == "message" && wire::read_message(c, view) && to_message(view, s.message);
    });
}

bool read_prepared(Cursor& cursor, PreparedInfo& p) {
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "id") return read_text(c, p.id);
        if (key == "producer") return read_text(c, p.producer);
        if (key == "check_queue") return read_text(c, p.check_queue);
        if (key == "check_after_ms") return c.read_uint(p.check_after_ms);
        if (key == "max_checks") return c.read_uint(p.max_checks);
        if (key == "prepared_ms") return c.read_uint(p.prepared_ms);
        if (key == "next_check_ms") return c.read_uint(p.next_check_ms);
        if (key == "checks") return c.read_uint(p.checks);
        if (key == "asked") return c.read_uint(p.asked);
        if (key == "asked_ms") return c.read_uint(p.asked_ms);
        if (key == "parked") return c.read_bool(p.parked);
        if (key == "unasked") return read_text(c, p.unasked);
        if (key == "exchange") return read_text(c, p.exchange);
        if (key == "routing_key") return read_text(c, p.routing_key);
        wire::MessageView view;
        if (key != "message" || !wire::read_message(c, view)) return false;
        p.has_message = true;
        return to_message(view, p.message);
    });
}

bool read_fact(Cursor& cursor, Fact& fact) {
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "fact") return read_text(c, fact.name);
        if (key == "details") return read_headers(c, fact.details);
        return false;
    });
}

bool read_binding(Cursor& cursor, Binding& b) {
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "destination") return read_text(c, b.destination);
        if (key == "kind") return read_text(c, b.kind);
        if (key == "key") return read_text(c, b.key);
        if (key == "arguments") return read_headers(c, b.arguments);
        return false;
    });
}

bool read_exchange(Cursor& cursor, ExchangeInfo& x) {
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "name") return read_text(c, x.name);
        if (key == "type") return read_text(c, x.type);
        if (key == "durable") return c.read_bool(x.durable);
        if (key == "auto_delete") return c.read_bool(x.auto_delete);
        if (key == "internal") return c.read_bool(x.internal);
        if (key == "hash") return read_text(c, x.hash);
        if (key != "bindings") return false;
        if (c.read_uint(x.binding_count)) return true;  // lists only count them
        return each_element(c, [&](Cursor& inner) {
            Binding binding;
            if (!read_binding(inner, binding)) return false;
            x.bindings.push_back(std::move(binding));
            ++x.binding_count;
            return true;
        });
    });
}

bool read_peeked(Cursor& cursor, PeekedMessage& out) {
    std::uint32_t fields = 0;
    if (!cursor.read_array(fields) || fields < 4) return false;
    wire::MessageView view;
    if (!cursor.read_uint(out.position) || !cursor.read_uint(out.attempt) ||
        !cursor.read_uint(out.published_ms) || !wire::read_message(cursor, view)) {
        return false;
    }
    for (std::uint32_t i = 4; i < fields; ++i) {
        if (!cursor.skip()) return false;
    }
    return to_message(view, out.message);
}

}  // namespace

bool read_confirm(wire::Cursor& cursor, ConfirmFields& out) {
    return cursor.read_uint(out.producer) && cursor.read_uint(out.last) &&
           cursor.read_uint(out.flags);
}

Outcome ConfirmFields::outcome() const {
    Outcome outcome;
    const bool duplicate = (flags & wire::confirm_duplicate) != 0;
    outcome.kind = duplicate ? Outcome::Kind::duplicate : Outcome::Kind::confirmed;
    outcome.repeated = (flags & wire::confirm_repeated) != 0;
    return outcome;
}

bool read_refused(wire::Cursor& cursor, RefusedFields& out) {
    std::uint64_t number = 0;
    if (!cursor.read_uint(out.producer) || !cursor.read_uint(out.last) ||
        !cursor.read_uint(number) || number == 0 || number > 0xffff || !cursor.read_str(out.text)) {
        return false;
    }
    out.code = static_cast<wire::Code>(number);
    return true;
}

bool decode_hello(Bytes result, ServerInfo& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "server") return read_text(c, out.server);
        if (key == "log_id") return read_id(c, out.log_id);
        if (key == "session") return c.read_uint(out.session);
        if (key == "heartbeat_ms") return c.read_uint(out.heartbeat_ms);
        if (key == "frame_bytes_max") return c.read_uint(out.frame_bytes_max);
        if (key == "payload_bytes_max") return c.read_uint(out.payload_bytes_max);
        if (key == "reply_to") return read_text(c, out.reply_to);
        if (key == "now_ms") return c.read_uint(out.now_ms);
        return false;
    });
}

bool decode_proof(Bytes result, std::string& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        return key == "proof" && read_text(c, out);
    });
}

bool decode_producer(Bytes result, ProducerAnswer& out) {
    Cursor cursor(result);
    bool handle = false;
    bool mark = false;
    const bool read = each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "producer") return handle = c.read_uint(out.producer);
        if (key == "epoch") return c.read_uint(out.epoch);
        if (key == "mark") return mark = c.read_uint(out.mark);
        if (key == "open") return decode_ranges(c, out.open);
        return false;
    });
    // Sequences must be able to grow: a mark near the end of the numbers would wrap them.
    return read && handle && mark && out.mark < (1ULL << 62);
}

bool decode_declared_queue(Bytes result, DeclaredQueue& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "queue") return read_text(c, out.name);
        if (key == "messages") return c.read_uint(out.messages);
        if (key == "consumers") return c.read_uint(out.consumers);
        return false;
    });
}

bool decode_figure(Bytes result, std::string_view wanted, std::uint64_t& out) {
    Cursor cursor(result);
    return each_entry(
        cursor, [&](std::string_view key, Cursor& c) { return key == wanted && c.read_uint(out); });
}

bool decode_queue(Bytes result, QueueInfo& out) {
    Cursor cursor(result);
    return read_queue(cursor, out);
}

bool decode_queue_page(Bytes result, QueuePage& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "more") return c.read_bool(out.more);
        if (key != "queues") return false;
        return each_element(c, [&](Cursor& inner) {
            QueueInfo queue;
            if (!read_queue(inner, queue)) return false;
            out.queues.push_back(std::move(queue));
            return true;
        });
    });
}

bool decode_consumer_page(Bytes result, ConsumerPage& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "more") return c.read_bool(out.more);
        if (key != "consumers") return false;
        return each_element(
            c, [&](Cursor& inner) { return read_member(inner, out.consumers.emplace_back()); });
    });
}

bool decode_peeked(Bytes result, std::vector<PeekedMessage>& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key != "messages") return false;
        return each_element(c, [&](Cursor& inner) {
            PeekedMessage message;
            if (!read_peeked(inner, message)) return false;
            out.push_back(std::move(message));
            return true;
        });
    });
}

bool decode_exchange(Bytes result, ExchangeInfo& out) {
    Cursor cursor(result);
    if (!read_exchange(cursor, out)) return false;
    for (Binding& binding : out.bindings) binding.source = out.name;
    return true;
}

bool decode_exchange_page(Bytes result, ExchangePage& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "more") return c.read_bool(out.more);
        if (key != "exchanges") return false;
        return each_element(c, [&](Cursor& inner) {
            ExchangeInfo exchange;
            if (!read_exchange(inner, exchange)) return false;
            out.exchanges.push_back(std::move(exchange));
            return true;
        });
    });
}

bool decode_policy_page(Bytes result, PolicyPage& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "more") return c.read_bool(out.more);
        if (key != "policies") return false;
        return each_element(c, [&](Cursor& inner) {
            PolicyInfo policy;
            if (!read_policy(inner, policy)) return false;
            out.policies.push_back(std::move(policy));
            return true;
        });
    });
}

bool decode_schedule(Bytes result, ScheduleInfo& out) {
    Cursor cursor(result);
    return read_schedule(cursor, out);
}

bool decode_schedule_page(Bytes result, SchedulePage& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "more") return c.read_bool(out.more);
        if (key != "schedules") return false;
        return each_element(c, [&](Cursor& inner) {
            ScheduleInfo schedule;
            if (!read_schedule(inner, schedule)) return false;
            out.schedules.push_back(std::move(schedule));
            return true;
        });
    });
}

bool decode_prepared_result(Bytes result, PreparedResult& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        return key == "duplicate" && c.read_bool(out.duplicate);
    });
}

bool decode_prepared(Bytes result, PreparedInfo& out) {
    Cursor cursor(result);
    return read_prepared(cursor, out);
}

bool decode_prepared_page(Bytes result, PreparedPage& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "more") return c.read_bool(out.more);
        if (key != "prepared") return false;
        return each_element(c, [&](Cursor& inner) {
            PreparedInfo prepared;
            if (!read_prepared(inner, prepared)) return false;
            out.prepared.push_back(std::move(prepared));
            return true;
        });
    });
}

bool decode_times(Bytes result, std::vector<std::uint64_t>& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key != "times") return false;
        return each_element(c, [&](Cursor& inner) {
            std::uint64_t time = 0;
            if (!inner.read_uint(time)) return false;
            out.push_back(time);
            return true;
        });
    });
}

bool decode_facts(Bytes result, std::vector<Fact>& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key != "facts") return false;
        return each_element(c, [&](Cursor& inner) {
            Fact fact;
            if (!read_fact(inner, fact)) return false;
            out.push_back(std::move(fact));
            return true;
        });
    });
}

bool decode_stats(Bytes result, BrokerStats& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "version") return read_id(c, out.version);
        if (key == "log_id") return read_id(c, out.log_id);
        std::uint64_t figure = 0;
        bool flag = false;
        if (c.read_uint(figure) || c.read_bool(flag)) {
            out.figures.emplace(key, flag ? 1 : figure);
            return true;
        }
        return false;
    });
}

bool decode_backup(Bytes result, BackupInfo& out) {
    Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, Cursor& c) {
        if (key == "upto") return c.read_uint(out.upto);
        if (key == "bytes") return c.read_uint(out.bytes);
        if (key == "files") return c.read_uint(out.files);
        return false;
    });
}

bool decode_ranges(Cursor& cursor, std::vector<Range>& out) {
    std::uint32_t count = 0;
    if (!cursor.read_array(count) || count % 2 != 0) return false;
    for (std::uint32_t i = 0; i < count; i += 2) {
        Range range;
        if (!cursor.read_uint(range.first) || !cursor.read_uint(range.last)) return false;
        if (range.first > range.last) return false;
        out.push_back(range);
    }
    return true;
}

void encode_subscribe(const SubscriptionState& state, wire::Buffer& out) {
    wire::Encoder encoder(out);
    const SubscribeOptions& options = state.options;
    encoder.uint(state.id).str(state.queue).uint(state.window_messages).uint(state.window_bytes);
    encoder.map(2U + (options.lease_ms != 0 ? 1U : 0U) + (options.member.empty() ? 0U : 1U) +
                (options.weight != 1 ? 1U : 0U));
    if (!options.member.empty()) encoder.str("member").str(options.member);
    if (options.weight != 1) encoder.str("weight").uint(options.weight);
    encoder.str("no_ack").boolean(options.no_ack);
    encoder.str("exclusive").boolean(options.exclusive);
    if (options.lease_ms != 0) encoder.str("lease_ms").uint(options.lease_ms);
}

void encode_ranges(const Range* ranges, std::size_t count, wire::Encoder& out) {
    out.array(static_cast<std::uint32_t>(count * 2));
    for (std::size_t i = 0; i < count; ++i) out.uint(ranges[i].first).uint(ranges[i].last);
}

}  // namespace ferry::transport::native
