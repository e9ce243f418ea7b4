// Commands of three sessions, drawn from the input, against an engine with a journal in memory.

#include <map>
#include <set>
#include <vector>

#include "ferry/engine/engine.hpp"
#include "ferry/wire/message.hpp"
#include "ferry/wire/verbs.hpp"
#include "input.hpp"
#include "targets.hpp"

namespace ferry::fuzz {
namespace {

using engine::Position;
using engine::SessionId;

class Records final : public engine::Journal {
public:
    Place append(std::span<const Bytes> parts) override {
        std::vector<std::byte> body;
        for (const Bytes& part : parts) body.insert(body.end(), part.begin(), part.end());
        if (next - segment_ > 8192) segment_ = next;
        const Place place{next, segment_};
        next += 8 + body.size();
        bodies[place.position] = {place, std::move(body)};
        return place;
    }
    struct Stored {
        Place place;
        std::vector<std::byte> body;
    };
    std::map<Position, Stored> bodies;
    Position next = 64;

private:
    Position segment_ = 0;
};

class Session {
public:
    explicit Session(Bytes bytes) : input_(bytes), engine_(journal_, effects_, settings()) {
        engine_.recovered(false, now_);
        for (SessionId id = 1; id <= 3; ++id) engine_.open_session(id);
    }
    void run() {
        while (!input_.empty()) {
            step();
            read_effects();
        }
        replay();
    }

private:
    static engine::Settings settings() {
        engine::Settings s;
        s.extents_in_memory_max = 64;
        return s;
    }
    std::string name() { return std::string("n") + static_cast<char>('0' + input_.below(4)); }
    std::vector<engine::Range<std::uint64_t>> ranges() {
        std::vector<engine::Range<std::uint64_t>> all(input_.below(4));
        for (auto& range : all) {
            range.first = input_.below(40);
            range.last =
                input_.below(16) == 0 ? UINT64_MAX - input_.u8() : range.first + input_.below(6);
        }
        return all;
    }
    void publish(SessionId session) {
        std::vector<std::byte> bytes;
        wire::Encoder out(bytes);
        const std::uint32_t count = 1 + input_.below(5);
        for (std::uint32_t i = 0; i < count; ++i) {
            wire::Message m;
            const std::uint32_t route = input_.below(8);
            m.exchange = route < 4    ? ""
                         : route == 4 ? "amq.fanout"
                         : route == 5 ? "amq.topic"
                                      : name();
            m.routing_key = name();
            if (input_.below(8) == 0) m.properties.headers = {{"h", std::int64_t{1}}};
            wire::write_message(out, m);
        }
        const Bytes raw = input_.below(8) == 0 ? input_.take(input_.u8()) : Bytes{};
        bytes.insert(bytes.end(), raw.begin(), raw.end());
        engine::PublishCommand command;
        command.session = session;
        command.producer = 1 + input_.below(3);
        command.first = input_.below(8) == 0 ? UINT64_MAX - input_.u8() : input_.below(60);
        command.flags = input_.below(2);
        command.settled = input_.below(60);
        command.count = count;
        command.messages = bytes;
        (void)engine_.publish(command, now_);
    }
    void consume(SessionId session, std::uint64_t request) {
        const std::uint64_t id = input_.below(5);
        switch (input_.below(8)) {
            case 0: {
                engine::SubscribeOptions o;
                o.window_messages = input_.u8();
                o.window_bytes = input_.u16();
                o.exclusive = input_.below(8) == 0;
                o.no_ack = input_.below(4) == 0;
                engine_.subscribe(session, request, id, name(), o, now_);
                return;
            }
            case 1:
                return engine_.unsubscribe(session, request, id, now_);
            case 2:
                return engine_.credit(session, request, id, input_.u16(), input_.u16());
            case 3:
                return engine_.pull(session, request, id, name(), input_.u8(), input_.u16(), false,
                                    now_);
            case 4:
                return engine_.nack(session, request, id, ranges(), input_.below(2) == 0, now_);
            case 5:
                return engine_.extend(session, request, id, ranges(), input_.u16(), now_);
            default:
                return engine_.ack(session, request, id, ranges(), now_);
        }
    }
    engine::QueuePolicy policy() {
        engine::QueuePolicy p;
        const std::uint8_t bits = input_.u8();
        if ((bits & 1U) != 0) p.max_deliveries = 1 + input_.below(4);
        if ((bits & 2U) != 0) p.dead_letter_key = name();
        if ((bits & 4U) != 0) p.max_messages = 1 + input_.below(9);
        if ((bits & 8U) != 0) p.overflow = static_cast<engine::Overflow>(input_.below(3));
        if ((bits & 16U) != 0) p.message_ttl_ms = 500;
        if ((bits & 32U) != 0) p.dedupe_window_ms = 5'000;
        if ((bits & 64U) != 0) p.expires_ms = 60'000;
        if ((bits & 128U) != 0) {
            p.retry = engine::RetryKind::exponential;
            p.retry_delay_ms = 300;
        }
        return p;
    }
    wire::Message rich_message() {
        wire::Message m;
        m.routing_key = name();
        const std::uint8_t bits = input_.u8();
        if ((bits & 3U) == 3) m.properties.deliver_at_ms = now_.wall_ms + 700;
        if ((bits & 12U) == 12) m.properties.expires_at_ms = now_.wall_ms + 900;
        if ((bits & 16U) != 0) m.properties.ordering_key = name();
        if ((bits & 32U) != 0) m.properties.id = name();
        m.properties.priority = static_cast<std::uint8_t>(bits >> 6);
        return m;
    }
    void transact(SessionId session, std::uint64_t request) {
        std::vector<std::byte> bytes;
        wire::Encoder out(bytes);
        engine::TransactionCommand command;
        command.count = input_.below(4);
        for (std::uint32_t i = 0; i < command.count; ++i) wire::write_message(out, rich_message());
        const std::vector<engine::Range<std::uint64_t>> tags = ranges();
        const engine::TransactionPart part{input_.below(5), input_.below(3) == 0, tags};
        if (input_.below(4) != 0) command.parts = std::span(&part, 1);
        command.session = session;
        command.request = request;
        command.producer = 1 + input_.below(3);
        command.sequence = input_.below(30);
        command.flags = input_.below(2);
        command.messages = bytes;
        if (input_.below(3) == 0) return transact_many(command);
        (void)engine_.transact(command, now_);
    }
    // The same transaction several times, with the messages of all in one piece.
    void transact_many(const engine::TransactionCommand& one) {
        const std::uint32_t times = 1 + input_.below(4);
        std::vector<std::byte> bytes;
        for (std::uint32_t i = 0; i < times; ++i)
            bytes.insert(bytes.end(), one.messages.begin(), one.messages.end());
        const std::vector<engine::TransactionItem> items(times, {one.count, one.parts});
        engine::TransactionsCommand command;
        command.session = one.session;
        command.producer = one.producer;
        command.first = one.sequence;
        command.flags = one.flags;
        command.items = items;
        command.count = times * one.count;
        command.messages = bytes;
        (void)engine_.transact_many(command, now_);
    }
    void publish_rich(SessionId session) {
        std::vector<std::byte> bytes;
        wire::Encoder out(bytes);
        engine::PublishCommand command;
        command.session = session;
        command.producer = 1 + input_.below(3);
        command.first = 1 + input_.below(60);
        command.count = 1 + input_.below(6);
        for (std::uint32_t i = 0; i < command.count; ++i) wire::write_message(out, rich_message());
        command.messages = bytes;
        (void)engine_.publish(command, now_);
    }
    void set_schedule(SessionId session, std::uint64_t request) {
        engine::Schedule s;
        s.name = name();
        s.cron = s.zone = "x";
        s.missed = input_.below(2) == 0 ? engine::Missed::once : engine::Missed::skip;
        s.next_ms = now_.wall_ms + 1 + input_.u16();
        wire::Message message;
        message.routing_key = name();
        wire::Encoder out(s.message);
        wire::write_message(out, message);
        engine_.set_schedule(session, request, std::move(s), false, now_);
    }
    void features(SessionId session, std::uint64_t request) {
        switch (input_.below(12)) {
            case 0:
            case 1: {
                engine::QueueOptions o;
                const std::uint8_t bits = input_.u8();
                o.ordered = (bits & 3U) == 3;
                o.single_active = (bits & 12U) == 12;
                o.policy = policy();
                o.policy.priorities = (bits & 48U) == 48;
                return engine_.declare_queue(session, request, name(), o, now_);
            }
            case 2: {
                engine::NamedPolicy named;
                named.name = name();
                named.pattern = input_.below(2) == 0 ? "*" : name();
                named.priority = input_.below(4);
                named.settings = policy();
                return engine_.set_policy(session, request, named, false, now_);
            }
            case 3:
                return engine_.delete_policy(session, request, name(), now_);
            case 4:
                return set_schedule(session, request);
            case 5:
                if (input_.below(2) == 0)
                    return engine_.delete_schedule(session, request, name(), now_);
                return engine_.pause_schedule(session, request, name(), input_.below(2) == 0,
                                              now_.wall_ms + 60'000, now_);
            case 6:
                return engine_.cancel(session, request, name(), name(), now_);
            case 7:
                return engine_.move_messages(session, request, name(), name(), 0,
                                             1 + input_.below(9), input_.below(2) == 0, now_);
            case 8:
                return engine_.nack(session, request, input_.below(5), ranges(), true, now_,
                                    input_.u16());
            case 9:
                return engine_.why(session, request, name(), input_.u16(), {}, now_);
            default:
                return publish_rich(session);
        }
    }
    void administer(SessionId session, std::uint64_t request) {
        switch (input_.below(9)) {
            case 0:
            case 1: {
                engine::QueueOptions o;
                const std::uint8_t bits = input_.u8();
                o.durable = (bits & 1U) == 0;
                transient_ = transient_ || !o.durable;
                o.exclusive = (bits & 6U) == 6;
                o.auto_delete = (bits & 24U) == 24;
                return engine_.declare_queue(session, request, name(), o, now_);
            }
            case 2:
                return engine_.delete_queue(session, request, name(), input_.below(2) == 0, false,
                                            now_);
            case 3:
                return engine_.purge_queue(session, request, name(), now_);
            case 4: {
                engine::ExchangeOptions o;
                o.auto_delete = input_.below(3) == 0;
                o.internal = input_.below(5) == 0;
                const auto type = static_cast<engine::ExchangeType>(input_.below(4));
                return engine_.declare_exchange(session, request, name(), type, o);
            }
            case 5:
                return engine_.delete_exchange(session, request, name(), input_.below(2) == 0);
            case 6:
            case 7: {
                engine::Binding b;
                b.source = input_.below(2) == 0 ? "amq.fanout" : name();
                b.destination = name();
                b.to_exchange = input_.below(3) == 0;
                b.key = input_.below(2) == 0 ? "#" : name();
                if (input_.below(5) == 0) return engine_.unbind(session, request, b);
                return engine_.bind(session, request, b);
            }
            default: {
                std::optional<std::uint64_t> epoch;
                if (input_.below(3) == 0) epoch = input_.below(4);
                return engine_.open_producer(session, request, name(), epoch, input_.below(2) == 0,
                                             now_);
            }
        }
    }
    void step() {
        const SessionId session = sessions_[input_.below(3)];
        const std::uint64_t request = input_.below(4) == 0 ? 0 : ++request_;
        switch (input_.below(13)) {
            case 10:
                return transact(session, request);
            case 11:
            case 12:
                return features(session, request);
            case 0:
            case 1:
                return publish(session);
            case 2:
            case 3:
                return consume(session, request);
            case 4:
                return administer(session, request);
            case 5:
                return engine_.hold(session, request, 1 + input_.below(3), ranges());
            case 6: {
                const std::size_t which = input_.below(3);
                engine_.close_session(sessions_[which], now_);
                gone_.insert(sessions_[which]);
                sessions_[which] = next_session_++;
                return engine_.open_session(sessions_[which]);
            }
            case 7:
                now_.mono.ns += std::uint64_t{input_.u8()} * 1'000'000'000;
                now_.wall_ms += 1000;
                return engine_.tick(now_);
            case 8:
                durable_ = journal_.next;
                return engine_.durable(durable_);
            default:
                return engine_.dispatch(now_);
        }
    }
    // Their messages go out before they are on disk. Unknown: the consumer or its queue has gone.
    bool of_transient_queue(const engine::Deliver& d) {
        for (const engine::ConsumerView& view : engine_.consumers("", {}, 1000, now_)) {
            if (view.session == d.session && view.subscription == d.subscription)
                return !engine_.queue(view.queue, now_).value().durable;
        }
        return transient_;
    }
    void read_effects() {
        engine::Effects effects;
        effects.swap(effects_);
        for (const engine::Effect& effect : effects) {
            if (const auto* d = std::get_if<engine::Deliver>(&effect)) {
                require(d->extent.record() < durable_ || of_transient_queue(*d));
                require(d->extent.count > 0 && d->attempt > 0);
                require(gone_.count(d->session) == 0);
                std::vector<std::byte> scratch;
                const auto& stored = journal_.bodies.at(d->extent.record());
                require(engine::message_bytes(stored.body, d->extent, 0, d->extent.count, scratch)
                            .ok());
            } else if (const auto* load = std::get_if<engine::LoadIndex>(&effect)) {
                require(load->record < durable_);
                engine_.index_loaded(load->queue, load->record,
                                     journal_.bodies.at(load->record).body);
            } else if (const auto* wanted = std::get_if<engine::LoadBody>(&effect)) {
                require(wanted->record < durable_);
                const auto body = journal_.bodies.at(wanted->record).body;
                engine_.body_loaded(wanted->queue, wanted->record, body, now_);
            } else if (const auto* due = std::get_if<engine::ScheduleDue>(&effect)) {
                engine_.schedule_due(due->name, due->due_ms, due->after_ms + 60'000, now_);
            }
        }
    }
    // The log alone gives the same number of messages.
    void replay() {
        engine_.dispatch(now_);
        engine::Effects none;
        Records nowhere;
        engine::Engine again(nowhere, none, settings());
        for (const auto& [position, stored] : journal_.bodies)
            require(again.replay(stored.place, stored.body).ok());
        for (const engine::QueueView& queue : engine_.queues("", 100, now_)) {
            const auto copy = again.queue(queue.name, now_);
            require(copy && copy->ready == queue.ready + queue.unacked);
            require(copy->delayed == queue.delayed && copy->leaving == queue.leaving);
        }
        for (const engine::Schedule* schedule : engine_.schedules("", 100)) {
            const engine::Schedule* copy = again.schedule(schedule->name);
            require(copy != nullptr && copy->next_ms == schedule->next_ms &&
                    copy->fired == schedule->fired);
        }
        require(again.policies("", 1000).size() == engine_.policies("", 1000).size());
        std::vector<std::byte> state;
        engine_.save(state, false);
        engine::Engine loaded(nowhere, none, settings());
        require(loaded.load(state).ok());
    }

    Input input_;
    Records journal_;
    engine::Effects effects_;
    engine::Engine engine_;
    Now now_{Instant{1}, 1'700'000'000'000};
    Position durable_ = 0;
    std::uint64_t request_ = 0;
    SessionId sessions_[3] = {1, 2, 3};
    SessionId next_session_ = 4;
    std::set<SessionId> gone_;
    bool transient_ = false;  // a queue was declared so
};

}  // namespace

void session(Bytes bytes) {
    Session(bytes).run();
}

}  // namespace ferry::fuzz
