// make_corpus DIRECTORY: writes seeds for the fuzzers, made by the real encoders and the real log.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "ferry/engine/engine.hpp"
#include "ferry/history/history_file.hpp"
#include "ferry/log/commit_log.hpp"
#include "ferry/log/format.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/platform/sim/sim_clock.hpp"
#include "ferry/platform/sim/sim_file_system.hpp"
#include "ferry/wire/message.hpp"

namespace {

using namespace ferry;
using Buffer = std::vector<std::byte>;

void write(const std::filesystem::path& directory, const std::string& name, const Buffer& bytes) {
    std::filesystem::create_directories(directory);
    std::ofstream out(directory / name, std::ios::binary);
    out.write(as_text(bytes).data(), static_cast<std::streamsize>(bytes.size()));
}
void put_u16(Buffer& out, std::size_t n) {
    out.push_back(static_cast<std::byte>(n & 255U));
    out.push_back(static_cast<std::byte>(n >> 8));
}
void put(Buffer& out, Bytes bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
}

wire::Message full_message() {
    wire::Message m;
    m.exchange = "orders";
    m.routing_key = "eu.paid";
    m.payload = "payload";
    m.properties.id = "id";
    m.properties.reply_to = "answers";
    m.properties.priority = 3;
    m.properties.headers = {{"a", std::int64_t{-1}}, {"b", 0.5}, {"c", std::string("text")}};
    return m;
}

void wire_seeds(const std::filesystem::path& root) {
    Buffer stream{std::byte{3}, std::byte{0}, std::byte{7}, std::byte{2}};
    Buffer messages;
    wire::Encoder message_out(messages);
    for (int i = 0; i < 3; ++i) {
        const std::size_t mark = wire::begin_frame(stream, wire::Verb::publish, 6);
        wire::Encoder out(stream);
        out.uint(1).uint(1).uint(0).uint(0).array(1);
        wire::write_message(out, full_message());
        wire::end_frame(stream, mark);
        wire::write_message(message_out, i == 0 ? full_message() : wire::Message{});
    }
    write(root / "frames", "publishes", stream);
    stream.push_back(std::byte{0x7f});
    stream.resize(stream.size() + 5);
    write(root / "frames", "too-large", stream);
    Buffer transaction{std::byte{3}, std::byte{0}, std::byte{7}, std::byte{2}};
    const std::size_t mark = wire::begin_frame(transaction, wire::Verb::transaction, 8);
    wire::Encoder out(transaction);
    out.uint(9).uint(1).uint(4).uint(1).uint(3);
    out.array(1).array(3).uint(5).array(2).uint(1).uint(2).boolean(true);
    out.array(1);
    wire::write_message(out, full_message());
    wire::end_frame(transaction, mark);
    write(root / "frames", "transaction", transaction);
    Buffer several{std::byte{3}, std::byte{0}, std::byte{7}, std::byte{2}};
    const std::size_t begin = wire::begin_frame(several, wire::Verb::transactions, 7);
    wire::Encoder more(several);
    more.uint(4).uint(1).uint(1).uint(3).array(2);
    more.array(2).uint(1).array(1).array(3).uint(5).array(2).uint(1).uint(2).boolean(false);
    more.array(2).uint(0).array(1).array(3).uint(5).array(2).uint(3).uint(3).boolean(true);
    more.array(1);
    wire::write_message(more, full_message());
    wire::end_frame(several, begin);
    write(root / "frames", "transactions", several);
    write(root / "messages", "three", messages);
    Buffer head;
    wire::Encoder(head).array(3).uint(20).uint(70'000).map(1).str("k").nil();
    write(root / "messages", "head", head);
}

class Bodies final : public engine::Journal {
public:
    Place append(std::span<const Bytes> parts) override {
        Buffer body;
        for (const Bytes& part : parts) put(body, part);
        const Place place{next, 0};
        next += 8 + body.size();
        put_u16(seed, body.size());
        put(seed, body);
        return place;
    }
    Buffer seed{std::byte{0}};
    engine::Position next = 64;
};

void publish(engine::Engine& engine, std::uint64_t first, Now now) {
    Buffer bytes;
    wire::Encoder out(bytes);
    for (const char* key : {"q", "q", "r"}) {
        wire::Message m;
        m.routing_key = key;
        m.payload = "x";
        if (first % 2 == 0) m.exchange = "amq.fanout";
        wire::write_message(out, m);
    }
    engine::PublishCommand command;
    command.session = command.producer = 1;
    command.first = first;
    command.count = 3;
    command.messages = bytes;
    (void)engine.publish(command, now);
}

void record_seeds(const std::filesystem::path& root) {
    Bodies journal;
    engine::Effects effects;
    engine::Settings settings;
    settings.extents_in_memory_max = 8;
    engine::Engine engine(journal, effects, settings);
    const Now now{Instant{1}, 1'700'000'000'000};
    engine.recovered(false, now);
    engine.open_session(1);
    std::uint64_t request = 1;
    for (const char* name : {"q", "r"}) {
        engine.declare_queue(1, request++, name, {}, now);
        engine.bind(1, request++, {"amq.fanout", name, false, "", {{"k", std::int64_t{1}}}});
    }
    engine.declare_exchange(1, request++, "e", engine::ExchangeType::topic, {});
    engine.open_producer(1, request++, "p", std::nullopt, true, now);
    for (std::uint64_t i = 0; i < 70; ++i) publish(engine, 1 + 3 * i, now);
    const engine::Range<engine::Sequence> held[] = {{211, 212}};
    engine.hold(1, request++, 1, held);
    engine::SubscribeOptions options;
    options.window_messages = 20;
    options.window_bytes = 10'000;
    engine.subscribe(1, request++, 5, "q", options, now);
    engine.dispatch(now);
    engine.durable(journal.next);
    engine.dispatch(now);
    engine.durable(journal.next);
    engine.dispatch(now);
    const engine::Range<engine::Tag> acked[] = {{2, 3}, {5, 5}};
    engine.ack(1, 0, 5, acked, now);
    const engine::Range<engine::Tag> back[] = {{7, 8}};
    engine.nack(1, 0, 5, back, true, now);
    engine.dispatch(now);
    engine.purge_queue(1, request++, "r", now);
    write(root / "records", "bodies", journal.seed);
    Buffer state;
    engine.save(state, false);
    Buffer seed{std::byte{1}};
    put_u16(seed, state.size());
    put(seed, state);
    write(root / "records", "checkpoint", seed);
    engine.delete_queue(1, request++, "q", false, false, now);
    engine.unbind(1, request++, {"amq.fanout", "r", false, "", {{"k", std::int64_t{1}}}});
    engine.delete_exchange(1, request++, "e", false);
    write(root / "records", "bodies-deleted", journal.seed);
}

// One of everything that has a record of its own or a place in a checkpoint.
class Features {
public:
    Features() {
        engine_.recovered(false, now_);
        engine_.open_session(1);
    }
    void write_seeds(const std::filesystem::path& root) {
        declare();
        publish_and_consume();
        settle();
        change();
        write(root / "records", "features", journal_.seed);
        Buffer state;
        engine_.save(state, false);
        Buffer seed{std::byte{1}};
        put_u16(seed, state.size());
        put(seed, state);
        write(root / "records", "features-checkpoint", seed);
    }

private:
    void settle() {
        for (int i = 0; i < 6; ++i) {
            engine_.dispatch(now_);
            engine_.durable(journal_.next);
            engine::Effects work;
            work.swap(effects_);
            for (const engine::Effect& effect : work) {
                const auto* due = std::get_if<engine::ScheduleDue>(&effect);
                if (due == nullptr) continue;
                engine_.schedule_due(due->name, due->due_ms, due->after_ms + 60'000, now_);
            }
        }
    }
    void declare() {
        engine::QueueOptions options;
        options.policy.dead_letter_key = "dead";
        options.policy.max_deliveries = 5;
        options.policy.retry = engine::RetryKind::linear;
        options.policy.retry_delay_ms = 400;
        options.ordered = true;
        engine_.declare_queue(1, 1, "ordered", options, now_);
        options.ordered = false;
        options.policy.priorities = true;
        options.policy.dedupe_window_ms = 10'000;
        options.policy.message_ttl_ms = 60'000;
        engine_.declare_queue(1, 2, "levels", options, now_);
        options.policy = {};
        options.policy.max_messages = 2;
        options.policy.overflow = engine::Overflow::dead_letter_head;
        options.policy.dead_letter_key = "dead";
        options.single_active = true;
        engine_.declare_queue(1, 3, "short", options, now_);
        engine_.declare_queue(1, 4, "dead", {}, now_);
        engine::ExchangeOptions ring;
        ring.hash_on = engine::HashOn::ordering_key;
        engine_.declare_exchange(1, 5, "ring", engine::ExchangeType::consistent_hash, ring);
        engine_.bind(1, 6, {"ring", "ordered", false, "2", {}});
        engine_.open_producer(1, 7, "p", std::nullopt, false, now_);
        engine::NamedPolicy policy;
        policy.name = "all";
        policy.pattern = "d*";
        policy.settings.max_bytes = 100'000;
        policy.settings.overflow = engine::Overflow::reject_publish;
        engine_.set_policy(1, 8, policy, false, now_);
        for (const char* name : {"often", "gone"}) {
            engine::Schedule schedule;
            schedule.name = name;
            schedule.cron = schedule.zone = "x";
            schedule.next_ms = now_.wall_ms + 500;
            wire::Encoder out(schedule.message);
            wire::Message message;
            message.routing_key = "dead";
            wire::write_message(out, message);
            engine_.set_schedule(1, 9, std::move(schedule), false, now_);
        }
        settle();
    }
    Buffer messages(const char* queue, int count) {
        Buffer bytes;
        wire::Encoder out(bytes);
        for (int i = 0; i < count; ++i) {
            wire::Message m = full_message();
            m.exchange.clear();
            m.routing_key = queue;
            m.properties.id = std::to_string(i);
            m.properties.ordering_key = i % 2 == 0 ? "a" : "b";
            m.properties.priority = static_cast<std::uint8_t>(i % 4);
            if (i == 3) m.properties.deliver_at_ms = now_.wall_ms + 90'000;
            wire::write_message(out, m);
        }
        return bytes;
    }
    void publish_and_consume() {
        engine::SubscribeOptions options;
        options.window_messages = 3;
        options.window_bytes = 100'000;
        std::uint64_t sequence = 1;
        std::uint64_t subscription = 5;
        for (const char* queue : {"ordered", "levels", "short"}) {
            const Buffer bytes = messages(queue, 6);
            engine::PublishCommand command;
            command.session = command.producer = 1;
            command.first = sequence;
            command.count = 6;
            command.messages = bytes;
            (void)engine_.publish(command, now_);
            sequence += 6;
            settle();
            engine_.subscribe(1, 20, subscription++, queue, options, now_);
            settle();
        }
        const engine::Range<engine::Tag> first[] = {{1, 1}};
        const engine::Range<engine::Tag> second[] = {{2, 2}};
        const engine::TransactionPart parts[] = {{5, false, first}, {6, true, second}};
        const Buffer bytes = messages("levels", 5);
        engine::TransactionCommand command;
        command.session = command.producer = 1;
        command.request = 30;
        command.sequence = sequence;
        command.parts = parts;
        command.count = 5;
        command.messages = bytes;
        (void)engine_.transact(command, now_);
        settle();
        engine_.nack(1, 0, 5, second, true, now_);
        engine_.nack(1, 0, 6, first, false, now_);
    }
    void change() {
        engine_.cancel(1, 40, "ordered", "3", now_);
        now_.mono.ns += 1'000'000'000;
        now_.wall_ms += 1000;
        engine_.tick(now_);
        settle();
        now_.wall_ms += 3'600'000;  // the clock is put forward
        engine_.tick(now_);
        settle();
        engine_.delete_schedule(1, 41, "gone", now_);
        engine_.pause_schedule(1, 42, "often", true, 0, now_);
        engine_.delete_policy(1, 43, "all", now_);
        engine_.close_session(1, now_);
        settle();
    }

    Bodies journal_;
    engine::Effects effects_;
    engine::Engine engine_{journal_, effects_, engine::Settings{}};
    Now now_{Instant{1}, 1'700'000'000'000};
};

void session_seeds(const std::filesystem::path& root) {
    // Declare, open a producer, subscribe and publish in every session, then whatever comes.
    SeededRandom random(3);
    for (int n = 0; n < 6; ++n) {
        Buffer seed;
        for (int i = 0; i < 40 + n * 60; ++i) {
            const unsigned kinds[] = {4, 4, 0, 1, 2, 3, 8, 9, 8, 9, 10, 11, 12, 11, 7};
            seed.push_back(static_cast<std::byte>(random.below(3)));
            seed.push_back(static_cast<std::byte>(random.below(4)));
            seed.push_back(static_cast<std::byte>(kinds[random.below(15)]));
            for (std::uint64_t k = random.below(8); k > 0; --k)
                seed.push_back(static_cast<std::byte>(random.below(n % 2 == 0 ? 9 : 256)));
        }
        write(root / "session", "mixed-" + std::to_string(n), seed);
    }
}

// The container of recovery_target.cpp.
Buffer container(const sim::DiskImage& image) {
    Buffer seed;
    for (const auto& [name, content] : image.files) {
        const Buffer& file = content->bytes();
        const bool checkpoint = name.ends_with(".ckp");
        if (!checkpoint && !name.ends_with(".seg")) continue;
        if (name.find("spare") != std::string::npos) continue;
        std::size_t end = file.size();
        while (!checkpoint && end > log::format::segment_header_bytes &&
               file[end - 1] == std::byte{0})
            --end;
        const std::size_t header = checkpoint ? 0 : 56;
        const std::size_t from = checkpoint ? 0 : log::format::segment_header_bytes;
        if (end - from > 65'535) continue;
        const auto base = std::stoull(name.substr(name.rfind('/') + 1, 16), nullptr, 16);
        seed.push_back(checkpoint ? std::byte{3} : std::byte{0});
        seed.push_back(std::byte{0});
        seed.push_back(static_cast<std::byte>(base / 32768));
        seed.push_back(static_cast<std::byte>(header));
        put(seed, Bytes(file).first(header));
        put_u16(seed, end - from);
        put(seed, Bytes(file).subspan(from, end - from));
    }
    return seed;
}

void recovery_seeds(const std::filesystem::path& root) {
    sim::SimFileSystem files;
    SeededRandom random(1);
    sim::SimClock clock;
    log::Options options;
    options.segment_bytes = 32 * 1024;
    options.batch_bytes_max = 16 * 1024;
    options.spare_segments = 0;
    options.cache_bytes = 32 * 1024;
    auto opened = log::CommitLog::open(files, random, clock, "d", options);
    if (!opened.ok()) return;
    const auto log = std::move(opened).value();
    const auto settle = [&] {
        log->submit();
        while (log->write_once() || log->housekeep_once()) {
        }
    };
    for (int i = 0; i < 3; ++i) {
        const std::string text = "record " + std::to_string(i);
        const Bytes part = as_bytes(text);
        log->append({&part, 1});
        settle();
    }
    write(root / "recovery", "three-records", container(files.image()));
    for (int i = 0; i < 14; ++i) {
        const std::string text(3000, 'x');
        const Bytes part = as_bytes(text);
        log->append({&part, 1});
        settle();
    }
    write(root / "recovery", "two-segments", container(files.image()));
    log->checkpoint(Buffer(20, std::byte{7}), log->end(), false);
    settle();
    write(root / "recovery", "checkpoint", container(files.image()));
    log->close();
}

// Every field, every kind of event, rules; and a message's life that makes sense.
void history_seeds(const std::filesystem::path& root) {
    using history::What;
    history::Rules rules;
    rules.ordered_queues = {1};
    rules.dead_letter_queues = rules.dead_letter_from = {2};
    rules.windows = rules.deliveries_max = rules.lock_permits = {{1, 2}};
    rules.lease_ns = 1000;
    std::string all = line_of(rules);
    history::Event event;
    event.queue = event.attempt = 1;
    event.key = event.id = event.epoch = event.seq = event.payload = 1;
    event.position = event.lease = 1;
    event.redelivered = true;
    event.expires_ns = event.group = 1;
    for (int what = 0; what <= static_cast<int>(What::unlock); ++what) {
        event.process = static_cast<std::uint32_t>(what);
        event.type = static_cast<history::Type>(what % 4);
        event.what = static_cast<What>(what);
        ++event.time_ns;
        all += line_of(event);
    }
    write(root / "history_file", "all_kinds", Buffer(as_bytes(all).begin(), as_bytes(all).end()));
    std::string life;
    event = {};
    event.queue = 1;
    event.id = 1;
    for (const What what : {What::publish, What::deliver, What::ack, What::drained}) {
        for (const history::Type type : {history::Type::invoke, history::Type::ok}) {
            event.type = type;
            event.what = what;
            event.position = event.lease = 4096;
            ++event.time_ns;
            life += line_of(event);
        }
    }
    write(root / "history_file", "one_message",
          Buffer(as_bytes(life).begin(), as_bytes(life).end()));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: make_corpus DIRECTORY\n", stderr);
        return 2;
    }
    const std::filesystem::path root = argv[1];
    wire_seeds(root);
    record_seeds(root);
    Features().write_seeds(root);
    session_seeds(root);
    recovery_seeds(root);
    history_seeds(root);
    return 0;
}
