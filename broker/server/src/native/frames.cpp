#include "frames.hpp"

#include <algorithm>
#include <type_traits>

namespace ferry::server::native {
namespace {

using wire::begin_frame;
using wire::Buffer;
using wire::Encoder;
using wire::end_frame;
using wire::Verb;

template <class T>
void write_ranges(Encoder& out, const std::vector<engine::Range<T>>& ranges) {
    out.array(static_cast<std::uint32_t>(ranges.size() * 2));
    for (const engine::Range<T>& range : ranges) out.uint(range.first).uint(range.last);
}

void write_argument(Encoder& out, const engine::Argument& argument) {
    std::visit(
        [&out](const auto& value) {
            using T = std::decay_t<decltype(value)>;
            if constexpr (std::is_same_v<T, std::monostate>) {
                out.nil();
            } else if constexpr (std::is_same_v<T, bool>) {
                out.boolean(value);
            } else if constexpr (std::is_same_v<T, std::int64_t>) {
                out.integer(value);
            } else if constexpr (std::is_same_v<T, double>) {
                out.real(value);
            } else {
                out.str(value);
            }
        },
        argument);
}

// Answers, one for each alternative of engine::Answer but Failure.
struct AnswerWriter {
    Buffer& out;
    std::uint64_t request;

    void operator()(const engine::Plain&) const { write_ok(out, request); }
    void operator()(const engine::Failure& failure) const {
        write_error(out, request, failure.code, failure.text);
    }
    void operator()(const engine::QueueAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 3);
        Encoder(out).str("queue").str(answer.name).str("messages").uint(answer.messages);
        Encoder(out).str("consumers").uint(answer.consumers);
        end_frame(out, mark);
    }
    void operator()(const engine::CountAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 1);
        Encoder(out).str("messages").uint(answer.messages);
        end_frame(out, mark);
    }
    void operator()(const engine::QueuesAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 1);
        Encoder(out).str("queues").uint(answer.queues);
        end_frame(out, mark);
    }
    void operator()(const engine::PullAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 2);
        Encoder(out).str("messages").uint(answer.delivered).str("ready").uint(answer.ready);
        end_frame(out, mark);
    }
    void operator()(const engine::TransactionAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 1);
        Encoder(out).str("duplicate").boolean(answer.duplicate);
        end_frame(out, mark);
    }
    void operator()(const engine::PreparedAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 1);
        Encoder(out).str("duplicate").boolean(answer.duplicate);
        end_frame(out, mark);
    }
    void operator()(const engine::LockAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 2);
        Encoder(out).str("token").uint(answer.token).str("ahead").uint(answer.ahead);
        end_frame(out, mark);
    }
    void operator()(const engine::QueueView& queue) const {
        const std::size_t mark = begin_frame(out, Verb::ok, 3);
        Encoder encoder(out);
        encoder.uint(request);
        write_queue(encoder, queue, true);
        end_frame(out, mark);
    }
    void operator()(const engine::WhyAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 1);
        Encoder encoder(out);
        encoder.str("facts").array(static_cast<std::uint32_t>(answer.facts.size()));
        for (const engine::Fact& fact : answer.facts) {
            encoder.map(2).str("fact").str(fact.name).str("details");
            encoder.map(static_cast<std::uint32_t>(fact.details.size()));
            for (const auto& [name, value] : fact.details) {
                encoder.str(name);
                write_argument(encoder, value);
            }
        }
        end_frame(out, mark);
    }
    void operator()(const engine::ProducerAnswer& answer) const {
        const std::size_t mark = begin_ok(out, request, 4);
        Encoder encoder(out);
        encoder.str("producer").uint(answer.handle).str("epoch").uint(answer.epoch);
        encoder.str("mark").uint(answer.mark).str("open");
        write_ranges(encoder, answer.open);
        end_frame(out, mark);
    }
};

}  // namespace

std::size_t begin_ok(Buffer& out, std::uint64_t request, std::uint32_t entries) {
    const std::size_t mark = begin_frame(out, Verb::ok, 3);
    Encoder(out).uint(request).map(entries);
    return mark;
}

void write_ok(Buffer& out, std::uint64_t request) {
    end_frame(out, begin_ok(out, request, 0));
}

void write_error(Buffer& out, std::uint64_t request, wire::Code code, std::string_view text) {
    const std::size_t mark = begin_frame(out, Verb::error, 4);
    const wire::CodeInfo& info = wire::code_info(code);
    Encoder(out).uint(request).uint(static_cast<std::uint64_t>(code));
    Encoder(out).str(text.empty() ? info.meaning : text);
    end_frame(out, mark);
}

void write_heartbeat(Buffer& out) {
    const std::size_t mark = begin_frame(out, Verb::heartbeat, 2);
    Encoder(out).uint(0);
    end_frame(out, mark);
}

void write_confirm(Buffer& out, const engine::Confirm& confirm) {
    const std::size_t mark = begin_frame(out, Verb::confirm, 5);
    Encoder(out).uint(confirm.sequences.first).uint(confirm.producer).uint(confirm.sequences.last);
    Encoder(out).uint((confirm.duplicate ? wire::confirm_duplicate : 0) |
                      (confirm.repeated ? wire::confirm_repeated : 0));
    end_frame(out, mark);
}

void write_refused(Buffer& out, const engine::Refuse& refuse) {
    const std::size_t mark = begin_frame(out, Verb::refused, 6);
    Encoder(out).uint(refuse.sequences.first).uint(refuse.producer).uint(refuse.sequences.last);
    Encoder(out).uint(static_cast<std::uint64_t>(refuse.code)).str(refuse.text);
    end_frame(out, mark);
}

void write_settled(Buffer& out, const engine::Settled& settled) {
    const std::size_t mark = begin_frame(out, Verb::settled, 3);
    Encoder encoder(out);
    encoder.uint(settled.request);
    write_ranges(encoder, settled.lost);
    end_frame(out, mark);
}

void write_cancelled(Buffer& out, const engine::Cancelled& cancelled) {
    const std::size_t mark = begin_frame(out, Verb::cancelled, 4);
    Encoder(out).uint(cancelled.subscription).uint(static_cast<std::uint64_t>(cancelled.code));
    Encoder(out).str(cancelled.text);
    end_frame(out, mark);
}

void write_activated(Buffer& out, const engine::Activated& activated) {
    const std::size_t mark = begin_frame(out, Verb::activated, 3);
    Encoder(out).uint(activated.subscription).boolean(activated.active);
    end_frame(out, mark);
}

void write_lock_told(Buffer& out, const engine::LockTold& told) {
    const std::size_t mark = begin_frame(out, Verb::lock_told, 5);
    Encoder(out).uint(told.request).str(told.name).uint(told.token).boolean(told.granted);
    end_frame(out, mark);
}

void write_answer(Buffer& out, const engine::Reply& reply) {
    std::visit(AnswerWriter{out, reply.request}, reply.answer);
}

void write_deliver(Buffer& out, const engine::Deliver& deliver, std::uint32_t skip,
                   std::uint32_t count, std::uint64_t published_ms, Bytes messages) {
    const std::size_t mark = begin_frame(out, Verb::deliver, 8);
    Encoder encoder(out);
    encoder.uint(deliver.subscription).uint(deliver.first_tag + skip);
    encoder.uint(deliver.extent.first + skip).uint(deliver.attempt).uint(deliver.token);
    encoder.uint(published_ms).array(count).raw(messages);
    end_frame(out, mark);
}

namespace {
// Single messages lie all over the log's memory: while one is copied the next ones are on their
// way. Many more of them would push each other out of the nearest memory again.
constexpr std::size_t pieces_ahead = 16;

void expect(Bytes bytes) {
    constexpr std::size_t line = 64;
    constexpr std::size_t lines_max = 4;  // behind them the processor sees the direction itself
    for (std::size_t at = 0; at < std::min(bytes.size(), lines_max * line); at += line)
        __builtin_prefetch(bytes.data() + at);
}
}  // namespace

void write_deliver_some(Buffer& out, const engine::Deliver& deliver, const SomeMessages& some) {
    const std::size_t mark = begin_frame(out, Verb::deliver_some, 6);
    Encoder encoder(out);
    encoder.uint(deliver.subscription).uint(deliver.first_tag);
    encoder.array(some.positions).array(some.published_ms);
    encoder.array(static_cast<std::uint32_t>(some.size()));
    for (std::size_t i = 0; i < some.bytes.size(); ++i) {
        if (i + pieces_ahead < some.bytes.size()) expect(some.bytes[i + pieces_ahead]);
        encoder.raw(some.bytes[i]);
    }
    end_frame(out, mark);
}

void write_policy(Encoder& out, const engine::QueuePolicy& p) {
    const bool retries = p.retry != engine::RetryKind::none;
    const std::pair<std::string_view, std::uint64_t> numbers[] = {
        {"retry_delay_ms", p.retry_delay_ms},
        {"retry_delay_max_ms", p.retry_delay_max_ms},
        {"retry_jitter_percent", p.retry_jitter_percent},
        {"max_deliveries", p.max_deliveries},
        {"message_ttl_ms", p.message_ttl_ms},
        {"expires_ms", p.expires_ms},
        {"max_length", p.max_messages},
        {"max_bytes", p.max_bytes},
        {"dedupe_window_ms", p.dedupe_window_ms},
        {"dedupe_max_ids", p.dedupe_max_ids},
    };
    std::uint32_t count = (retries ? 1U : 0U) + (p.dead_letters() ? 2U : 0U) +
                          (p.limited() ? 1U : 0U) + (p.priorities ? 1U : 0U);
    for (const auto& entry : numbers) count += entry.second != 0 ? 1U : 0U;
    out.map(count);
    if (retries) out.str("retry").str(retry_name(p.retry));
    for (const auto& entry : numbers) {
        if (entry.second != 0) out.str(entry.first).uint(entry.second);
    }
    if (p.priorities) out.str("priorities").boolean(true);
    if (p.limited()) out.str("overflow").str(overflow_name(p.overflow));
    if (!p.dead_letters()) return;
    out.str("dead_letter_exchange").str(p.dead_letter_exchange);
    out.str("dead_letter_key").str(p.dead_letter_key);
}

std::string_view overflow_name(engine::Overflow overflow) {
    switch (overflow) {
        case engine::Overflow::drop_head:
            return "drop_head";
        case engine::Overflow::reject_publish:
            return "reject_publish";
        case engine::Overflow::dead_letter_head:
            return "dead_letter_head";
    }
    return "";
}

std::string_view retry_name(engine::RetryKind kind) {
    switch (kind) {
        case engine::RetryKind::none:
            return "none";
        case engine::RetryKind::fixed:
            return "fixed";
        case engine::RetryKind::linear:
            return "linear";
        case engine::RetryKind::exponential:
            return "exponential";
    }
    return "";
}

namespace {
constexpr std::uint32_t consumer_fields = 15;

void write_consumer_fields(Encoder& out, const engine::ConsumerView& consumer) {
    out.str("session").uint(consumer.session).str("subscription").uint(consumer.subscription);
    out.str("member").str(consumer.member).str("active").boolean(consumer.active);
    out.str("pulls").boolean(consumer.pulls).str("stuck").boolean(consumer.stuck);
    out.str("unacked").uint(consumer.unacked).str("unacked_bytes").uint(consumer.unacked_bytes);
    out.str("window_messages").uint(consumer.window_messages);
    out.str("oldest_ms").uint(consumer.oldest_ms).str("lease_ms").uint(consumer.lease_ms);
    out.str("silent_ms").uint(consumer.silent_ms).str("leases_ended").uint(consumer.leases_ended);
    out.str("slots").uint(consumer.slots).str("draining").uint(consumer.draining);
}
}  // namespace

void write_queue(Encoder& out, const engine::QueueView& queue, bool whole) {
    out.map(whole ? 32 : 27).str("name").str(queue.name);
    out.str("durable").boolean(queue.durable).str("exclusive").boolean(queue.exclusive);
    out.str("auto_delete").boolean(queue.auto_delete).str("lease_ms").uint(queue.lease_ms);
    out.str("ready").uint(queue.ready).str("ready_bytes").uint(queue.ready_bytes);
    out.str("unacked").uint(queue.unacked).str("consumers").uint(queue.consumers);
    out.str("stuck").uint(queue.stuck);
    out.str("published").uint(queue.published).str("delivered").uint(queue.delivered);
    out.str("acked").uint(queue.acked).str("returned").uint(queue.returned);
    out.str("delayed").uint(queue.delayed).str("leaving").uint(queue.leaving);
    out.str("parked").uint(queue.parked).str("dead_lettered").uint(queue.dead_lettered);
    out.str("expired").uint(queue.expired).str("dropped").uint(queue.dropped);
    out.str("repeated").uint(queue.repeated).str("ids").uint(queue.ids);
    out.str("ordered").boolean(queue.ordered);
    out.str("single_active").boolean(queue.single_active);
    out.str("held_keys").uint(queue.held_keys).str("blocked").uint(queue.blocked);
    out.str("oldest_unacked_ms").uint(queue.oldest_unacked_ms);
    if (!whole) return;
    out.str("floor").uint(queue.floor).str("policy");
    write_policy(out, queue.policy);
    out.str("declared");
    write_policy(out, queue.declared);
    out.str("policy_name").str(queue.policy_name);
    out.str("members").array(static_cast<std::uint32_t>(queue.members.size()));
    for (const engine::ConsumerView& member : queue.members) {
        out.map(consumer_fields);
        write_consumer_fields(out, member);
    }
}

void write_consumer(Encoder& out, const engine::ConsumerView& consumer, std::string_view client) {
    out.map(consumer_fields + 2).str("queue").str(consumer.queue).str("client").str(client);
    write_consumer_fields(out, consumer);
}

void write_exchange(Encoder& out, const engine::ExchangeView& exchange,
                    const std::vector<engine::Binding>* bindings) {
    const bool hashes = exchange.type == engine::ExchangeType::consistent_hash;
    out.map(hashes ? 7 : 6);
    if (hashes) out.str("hash").str(hash_text(exchange.hash_on, exchange.hash_header));
    out.str("name").str(exchange.name).str("type").str(type_name(exchange.type));
    out.str("durable").boolean(exchange.durable).str("auto_delete").boolean(exchange.auto_delete);
    out.str("internal").boolean(exchange.internal).str("bindings");
    if (bindings == nullptr) {
        out.uint(exchange.bindings);
        return;
    }
    out.array(static_cast<std::uint32_t>(bindings->size()));
    for (const engine::Binding& binding : *bindings) {
        out.map(4).str("destination").str(binding.destination);
        out.str("kind").str(binding.to_exchange ? "exchange" : "queue");
        out.str("key").str(binding.key).str("arguments");
        out.map(static_cast<std::uint32_t>(binding.arguments.size()));
        for (const auto& [name, value] : binding.arguments) {
            out.str(name);
            write_argument(out, value);
        }
    }
}

std::string_view type_name(engine::ExchangeType type) {
    switch (type) {
        case engine::ExchangeType::direct:
            return "direct";
        case engine::ExchangeType::topic:
            return "topic";
        case engine::ExchangeType::fanout:
            return "fanout";
        case engine::ExchangeType::headers:
            return "headers";
        case engine::ExchangeType::consistent_hash:
            return "consistent-hash";
    }
    return "";
}

std::string hash_text(engine::HashOn on, std::string_view header) {
    switch (on) {
        case engine::HashOn::routing_key:
            return "routing_key";
        case engine::HashOn::ordering_key:
            return "ordering_key";
        case engine::HashOn::header:
            return "header:" + std::string(header);
    }
    return "";
}

}  // namespace ferry::server::native
