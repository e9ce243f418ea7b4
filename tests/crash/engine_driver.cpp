#include "engine_driver.hpp"

#include <algorithm>
#include <unordered_set>

#include "ferry/platform/crc32c.hpp"
#include "log_driver.hpp"

namespace ferry::crash {
namespace {

constexpr int turns_max = 1000;
constexpr std::uint64_t failures_kept_max = 3;

void add_items(std::string& out, const engine::Engine& engine, std::string_view queue) {
    using engine::Where;
    for (const auto& [where, name] :
         {std::pair{Where::ready, "ready"}, std::pair{Where::unacked, "unacked"},
          std::pair{Where::delayed, "delayed"}, std::pair{Where::leaving, "leaving"}}) {
        // One message at a time: how they lie together is nobody's business. Without attempts: a
        // checkpoint counts what is delivered, a replay only when it is done.
        std::vector<std::string> all;
        for (const engine::PeekItem& item : engine.peek(queue, 0, 10'000, where)) {
            for (std::uint32_t i = 0; i < item.extent.count; ++i)
                all.push_back(std::to_string(item.extent.first + i));
        }
        std::sort(all.begin(), all.end());
        out += std::string(" ") + name;
        for (const std::string& one : all) out += " " + one;
    }
}

// An engine replays on its own: nothing it would append matters.
class NoJournal final : public engine::Journal {
public:
    Place append(std::span<const Bytes>) override { return {}; }
};

std::string replayed_picture(const EngineHistory& history, std::size_t records, const Now& now) {
    NoJournal journal;
    engine::Effects effects;
    engine::Engine engine(journal, effects, engine::Settings{});
    for (std::size_t i = 0; i < records; ++i) {
        const Appended& record = history.records[i];
        if (!engine.replay(record.place, record.body).ok()) return "replay of the prefix fails";
    }
    return picture_of(engine, now);
}

}  // namespace

std::string picture_of(const engine::Engine& engine, const Now& now) {
    std::string out;
    for (const engine::QueueView& view : engine.queues("", 1000, now)) {
        out += "queue " + view.name + " ready " + std::to_string(view.ready) + " delayed " +
               std::to_string(view.delayed) + " leaving " + std::to_string(view.leaving) + " ids " +
               std::to_string(view.ids);
        add_items(out, engine, view.name);
        out += "\n";
    }
    for (const engine::Schedule* s : engine.schedules("", 1000)) {
        out += "schedule " + s->name + " next " + std::to_string(s->next_ms) + " last " +
               std::to_string(s->last_ms) + " fired " + std::to_string(s->fired) + " skipped " +
               std::to_string(s->skipped) + (s->paused ? " paused\n" : "\n");
    }
    for (const engine::PolicyView& view : engine.policies("", 1000))
        out += "policy " + view.policy.name + " " + std::to_string(view.queues) + "\n";
    return out;
}

// ---- history ----

std::set<std::string> EngineHistory::told_at(std::size_t point) const {
    std::set<std::string> known;
    for (const Told& one : told) {
        if (one.from <= point) known.insert(one.what);
    }
    return known;
}

engine::Position EngineHistory::durable_at(std::size_t point) const {
    engine::Position upto = 0;
    for (const auto& [from, position] : durable) {
        if (from <= point) upto = position;
    }
    return upto;
}

Now EngineHistory::time_at(std::size_t point) const {
    Now then = times.front().second;
    for (const auto& [from, time] : times) {
        if (from <= point) then = time;
    }
    return then;
}

// ---- the driver ----

class EngineDriver::RecordingJournal final : public engine::Journal {
public:
    explicit RecordingJournal(EngineDriver& driver) : driver_(driver) {}
    Place append(std::span<const Bytes> parts) override {
        const log::Place place = driver_.log_->append(parts);
        Appended record{{place.position, place.segment}, {}, driver_.files_.operations()};
        for (const Bytes part : parts)
            record.body.insert(record.body.end(), part.begin(), part.end());
        driver_.history_.records.push_back(std::move(record));
        return {place.position, place.segment};
    }

private:
    EngineDriver& driver_;
};

EngineDriver::EngineDriver(sim::SimFileSystem& files) : files_(files) {}
EngineDriver::~EngineDriver() = default;

engine::Position EngineDriver::checkpoint_at() const {
    return log_->recovered().checkpoint_at;
}

std::string EngineDriver::open(const Now& now) {
    clock_.set_wall_ms(now.wall_ms);
    history_.times.emplace_back(0, clock_.now());
    std::string text;
    auto opened =
        log::CommitLog::open(files_, random_, clock_, log_directory, small_options(), &text);
    if (!opened.ok()) return "open failed: " + text;
    log_ = std::move(opened).value();
    journal_ = std::make_unique<RecordingJournal>(*this);
    engine_ = std::make_unique<engine::Engine>(*journal_, effects_, engine::Settings{});
    const std::vector<std::byte>& state = log_->recovered().checkpoint;
    if (!state.empty() && !engine_->load(state).ok()) return "the checkpoint does not load";
    const Status replayed = log_->replay([&](const log::Place& place, Bytes body) {
        found_.push_back(place.position);
        return engine_->replay({place.position, place.segment}, body);
    });
    if (!replayed.ok()) return "replay failed: " + std::string(replayed.error().what);
    return {};
}

void EngineDriver::serve() {
    engine_->recovered(!log_->recovered().clean, now());
    engine_->open_session(session);
    turn();
}

void EngineDriver::turn() {
    for (int i = 0; i < turns_max; ++i) {
        engine_->dispatch(now());
        log_->submit();
        bool moved = false;
        while (log_->write_once() || log_->housekeep_once()) moved = true;
        if (log_->failed()) return;
        history_.durable.emplace_back(files_.operations(), log_->durable());
        engine_->durable(log_->durable());
        engine::Effects work;
        work.swap(effects_);
        for (const engine::Effect& effect : work) carry_out(effect);
        if (!moved && work.empty()) return;
    }
    tell("it never comes to rest");
}

void EngineDriver::pass_ms(std::uint64_t ms) {
    clock_.advance_ms(ms);
    history_.times.emplace_back(files_.operations(), now());
    engine_->tick(now());
    turn();
}

void EngineDriver::checkpoint() {
    std::vector<std::byte> state;
    engine_->save(state, false);
    log_->checkpoint(std::move(state), log_->end(), false);
    turn();
}

void EngineDriver::tell(std::string what) {
    history_.told.push_back({files_.operations(), std::move(what)});
}

void EngineDriver::carry_out(const engine::Effect& effect) {
    if (const auto* deliver = std::get_if<engine::Deliver>(&effect)) {
        for (std::uint32_t i = 0; i < deliver->extent.count; ++i)
            got_.push_back({deliver->first_tag + i, deliver->attempt, text_of(deliver->extent, i)});
    } else if (const auto* reply = std::get_if<engine::Reply>(&effect)) {
        answer_ = reply->answer;
    } else if (const auto* settled = std::get_if<engine::Settled>(&effect)) {
        const auto at = settling_.find(settled->request);
        if (at != settling_.end() && settled->lost.empty()) tell(at->second);
    } else if (const auto* confirm = std::get_if<engine::Confirm>(&effect)) {
        for (engine::Sequence i = confirm->sequences.first; i <= confirm->sequences.last; ++i)
            tell("confirmed " + std::to_string(i));
    } else if (const auto* wanted = std::get_if<engine::LoadBody>(&effect)) {
        engine_->body_loaded(wanted->queue, wanted->record, body_of(wanted->record), now());
    } else if (const auto* load = std::get_if<engine::LoadIndex>(&effect)) {
        engine_->index_loaded(load->queue, load->record, body_of(load->record));
    } else if (const auto* due = std::get_if<engine::ScheduleDue>(&effect)) {
        engine_->schedule_due(due->name, due->due_ms, next_minute(due->after_ms), now());
    }
}

std::vector<std::byte> EngineDriver::body_of(engine::Position record) {
    const auto block = log_->read_block(record, 1);
    if (!block.ok() || block.value().records.empty()) {
        tell("a record cannot be read");
        return {};
    }
    const Bytes body = block.value().records.front().body;
    return {body.begin(), body.end()};
}

std::string EngineDriver::text_of(const engine::Extent& extent, std::uint32_t skip) {
    const std::vector<std::byte> body = body_of(extent.record());
    std::vector<std::byte> scratch;
    const Result<Bytes> bytes = engine::message_bytes(body, extent, skip, 1, scratch);
    wire::MessageView view;
    if (!bytes.ok()) return "bytes not found";
    wire::Cursor cursor(bytes.value());
    if (!wire::read_message(cursor, view)) return "bad bytes";
    wire::Properties properties;
    // What schedules publish is told apart by its id.
    if (view.payload.empty() && wire::read_properties(view.properties, properties))
        return properties.id;
    return std::string(as_text(view.payload));
}

std::vector<std::byte> EngineDriver::message(std::string_view queue,
                                             const std::string& text) const {
    wire::Message out;
    out.routing_key = queue;
    out.payload = text;
    const std::size_t colon = text.find(':');
    if (colon != std::string::npos) out.properties.ordering_key = text.substr(0, colon);
    std::vector<std::byte> bytes;
    wire::Encoder encoder(bytes);
    wire::write_message(encoder, out);
    return bytes;
}

std::uint64_t EngineDriver::producer(std::string_view name) {
    engine_->open_producer(session, next_request(), name, std::nullopt, false, now());
    turn();
    const auto opened = answer<engine::ProducerAnswer>();
    if (!opened) return 0;
    next_[opened->handle] = opened->mark + 1;
    return opened->handle;
}

void EngineDriver::publish(std::uint64_t handle, std::string_view queue,
                           const std::vector<std::string>& texts) {
    std::vector<std::byte> all;
    for (const std::string& text : texts) {
        const std::vector<std::byte> one = message(queue, text);
        all.insert(all.end(), one.begin(), one.end());
    }
    engine::PublishCommand command;
    command.session = session;
    command.producer = handle;
    command.first = next_[handle];
    command.count = static_cast<std::uint32_t>(texts.size());
    command.messages = all;
    next_[handle] += texts.size();
    if (!engine_->publish(command, now())) tell("a publish was malformed");
    turn();
}

void EngineDriver::declare(std::string_view queue, const engine::QueueOptions& options) {
    engine_->declare_queue(session, next_request(), queue, options, now());
    turn();
}

void EngineDriver::subscribe(std::uint64_t subscription, std::string_view queue,
                             std::uint64_t window) {
    engine::SubscribeOptions options;
    options.window_messages = window;
    options.window_bytes = 1U << 20;
    engine_->subscribe(session, next_request(), subscription, queue, options, now());
    turn();
}

void EngineDriver::ack(std::uint64_t subscription, const Got& message) {
    tell("may " + message.payload);
    const engine::Range<engine::Tag> tags{message.tag, message.tag};
    const std::uint64_t request = next_request();
    settling_[request] = "acked " + message.payload;
    engine_->ack(session, request, subscription, std::span(&tags, 1), now());
    turn();
}

void EngineDriver::nack(std::uint64_t subscription, const Got& message, std::uint64_t delay_ms) {
    const engine::Range<engine::Tag> tags{message.tag, message.tag};
    const std::uint64_t request = next_request();
    settling_[request] = "failed " + message.payload;
    engine_->nack(session, request, subscription, std::span(&tags, 1), true, now(), delay_ms);
    turn();
}

std::vector<std::string> EngineDriver::texts(std::string_view queue, engine::Where where) {
    std::vector<std::string> all;
    for (const engine::PeekItem& item : engine_->peek(queue, 0, 10'000, where)) {
        for (std::uint32_t i = 0; i < item.extent.count; ++i)
            all.push_back(text_of(item.extent, i));
    }
    return all;
}

engine::QueueView EngineDriver::view(std::string_view queue) {
    return engine_->queue(queue, now()).value_or(engine::QueueView{});
}

// ---- every power cut ----

namespace {

std::string check_prefix(const EngineDriver& found, const EngineHistory& history, std::size_t point,
                         std::size_t& prefix) {
    const engine::Position from = found.checkpoint_at();
    const engine::Position durable = history.durable_at(point);
    std::size_t at = 0;
    prefix = 0;
    for (const Appended& record : history.records) {
        const engine::Position position = record.place.position;
        const bool before = position < from;
        const bool here = at < found.found().size() && found.found()[at] == position;
        if (!before && !here) {
            if (position < durable) return "LOST a durable record at " + std::to_string(position);
            break;
        }
        if (record.from > point) return "found what was never written";
        at += here && !before ? 1U : 0U;
        ++prefix;
    }
    if (at != found.found().size()) return "PHANTOM records, or some between were lost";
    return {};
}

std::string check_state(const sim::DiskImage& image, const EngineWorkload& workload,
                        const EngineHistory& history, std::size_t point) {
    sim::SimFileSystem files(image, false);
    EngineDriver driver(files);
    const Now then = history.time_at(point);
    if (std::string wrong = driver.open(then); !wrong.empty()) return wrong;
    std::size_t prefix = 0;
    if (std::string wrong = check_prefix(driver, history, point, prefix); !wrong.empty())
        return wrong;
    const std::string found = picture_of(driver.engine(), driver.now());
    const std::string legal = replayed_picture(history, prefix, driver.now());
    if (found != legal)
        return "no state that a prefix of its records gives:\n" + found + "instead of\n" + legal;
    driver.serve();
    std::string wrong = workload.check(driver, history.told_at(point));
    for (const std::string& told : driver.history().told_at(SIZE_MAX)) {
        if (told.starts_with("a ") || told.starts_with("it ")) wrong += " " + told;
    }
    if (!wrong.empty()) wrong += "\n with " + std::to_string(prefix) + " records:\n" + found;
    return wrong;
}

}  // namespace

EngineCounts explore(const EngineWorkload& workload, const sim::CrashLimits& limits) {
    EngineCounts counts;
    const auto fail = [&](const std::string& text) {
        if (++counts.failures <= failures_kept_max) counts.failed += workload.name + text + "\n";
    };
    sim::SimFileSystem files(empty_disk());
    EngineDriver driver(files);
    if (std::string wrong = driver.open({Instant{1}, EngineDriver::begin_ms}); !wrong.empty()) {
        fail(" without any crash: " + wrong);
        return counts;
    }
    const std::size_t from = files.operations();
    driver.serve();
    workload.run(driver);
    const EngineHistory& history = driver.history();
    for (const std::string& told : history.told_at(SIZE_MAX)) {
        if (told.starts_with("a ") || told.starts_with("it ")) fail(" without any crash: " + told);
    }
    sim::CrashStates states(files.journal(), sim::Profile::weakest, limits);
    std::unordered_set<std::uint64_t> done;
    for (std::size_t point = from; point <= files.operations(); ++point) {
        ++counts.points;
        const std::uint64_t known = history.durable_at(point) * 1'000'003 +
                                    history.told_at(point).size() * 31 +
                                    history.time_at(point).wall_ms;
        states.at(point, [&](const sim::DiskImage& image, std::uint64_t hash) {
            if (!done.insert(hash ^ (known * 0x9E3779B97F4A7C15ULL)).second) return;
            ++counts.checked;
            const std::string wrong = check_state(image, workload, history, point);
            if (wrong.empty()) return;
            fail(" crash after operation " + std::to_string(point) + ": " + wrong +
                 "\n what became of unsynced operations:\n" + states.description());
        });
    }
    return counts;
}

}  // namespace ferry::crash
