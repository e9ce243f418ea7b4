#include "ferry/saga/participant.hpp"

#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <vector>

#include "contract.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/platform/planted.hpp"
#include "schema.hpp"
#include "values.hpp"

namespace ferry::saga {
namespace {

using consumer::Effects;
using consumer::Handled;
using sqlite::Kind;
using sqlite::Problem;

constexpr std::uint64_t tidy_every_ms = 10'000;
constexpr int tidy_rows = 500;

enum class Acted : std::uint8_t { no, yes, failed };
enum class Undone : std::uint8_t { no, yes };
/// Of a try: what it reserved waits for confirm or cancel.
enum class Held : std::uint8_t { no, yes, settled };

/// The barrier's row of one step.
struct Barrier {
    bool there = false;
    Acted acted = Acted::no;
    Undone undone = Undone::no;
    std::uint64_t token = 0;
    std::string result;
    std::string reason;
    Held held = Held::no;
};

const std::string* text_header(const consumer::Incoming& message, std::string_view name) {
    for (const auto& [key, value] : message.properties().headers) {
        if (key == name) return std::get_if<std::string>(&value);
    }
    return nullptr;
}

bool flag_header(const consumer::Incoming& message, std::string_view name) {
    for (const auto& [key, value] : message.properties().headers) {
        if (key != name) continue;
        const bool* const flag = std::get_if<bool>(&value);
        return flag != nullptr && *flag;
    }
    return false;
}

std::optional<Barrier> read_barrier(Effects& effects, const Call& call) {
    sqlite::Statement* const prepared = effects.prepare(
        "SELECT acted, undone, token, result, reason, held FROM ferry_saga_barrier WHERE saga = ?1 "
        "AND step = ?2");
    if (prepared == nullptr) return std::nullopt;
    sqlite::Statement& s = *prepared;
    auto row = s.bind(1, std::string_view(call.saga)).bind(2, std::string_view(call.step)).step();
    if (!row.ok()) {
        effects.failed(row.error());
        return std::nullopt;
    }
    Barrier out;
    if (!row.value()) return out;
    out.there = true;
    out.acted = s.integer(0) == 1 ? Acted::yes : s.integer(0) == 2 ? Acted::failed : Acted::no;
    out.undone = s.integer(1) == 1 ? Undone::yes : Undone::no;
    out.token = static_cast<std::uint64_t>(s.integer(2));
    out.result = s.text(3);
    out.reason = s.text(4);
    out.held = s.integer(5) == 1 ? Held::yes : s.integer(5) == 2 ? Held::settled : Held::no;
    s.reset();
    return out;
}

void write_barrier(Effects& effects, const Call& call, const Barrier& barrier) {
    effects.run(
        "INSERT INTO ferry_saga_barrier(saga, step, acted, undone, token, result, reason, "
        "changed_ms, held) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT(saga, step) DO "
        "UPDATE SET acted = ?3, undone = ?4, token = max(token, ?5), result = ?6, reason = ?7, "
        "changed_ms = ?8, held = ?9",
        std::string_view(call.saga), std::string_view(call.step), static_cast<int>(barrier.acted),
        static_cast<int>(barrier.undone), call.token, std::string_view(barrier.result),
        std::string_view(barrier.reason), system_clock().now().wall_ms,
        static_cast<int>(barrier.held));
}

/// NAME.confirm settles what the try NAME reserved.
void settle_try(Effects& effects, const Call& call) {
    constexpr std::string_view confirm = ".confirm";
    std::string_view step = call.step;
    if (!step.ends_with(confirm)) return;
    step.remove_suffix(confirm.size());
    effects.run("UPDATE ferry_saga_barrier SET held = 2 WHERE saga = ?1 AND step = ?2 AND held = 1",
                std::string_view(call.saga), step);
}

}  // namespace

struct Participant::Impl {
    struct Lane {
        std::unique_ptr<consumer::Inbox> inbox;
        std::unique_ptr<consumer::Runtime> runtime;
    };
    ParticipantOptions options;
    std::map<std::string, CallHandler, std::less<>> acts;
    std::map<std::string, CallHandler, std::less<>> undos;
    std::vector<Lane> lanes;
    std::mutex writing;  // one lane at a time, instead of in SQLite's busy handler
    std::uint64_t tidied_ms = 0;
    std::atomic<std::uint64_t> acted{0}, undone{0}, repeats{0}, empty{0}, hanging{0}, stale{0};

    Handled act(Effects& effects, Call& call, Barrier& barrier, const CallHandler& handler);
    Handled undo(Effects& effects, Call& call, Barrier& barrier, const CallHandler& handler);
    Handled answer(Effects& effects, const Call& call, std::string_view op, const Said& said);
    std::optional<Said> attempt(Effects& effects, Call& call, const CallHandler& handler);
    void tidy(Effects& effects);
};

sqlite::Status Participant::init(const std::string& path) {
    if (auto made = consumer::Inbox::init(path); !made.ok()) return made.error();
    outbox::Options options;
    options.init = true;
    options.wake_hook = false;
    auto opened = outbox::Outbox::open(path, options);
    if (!opened.ok()) return opened.error();
    return make_barrier(opened.value().database());
}

Participant::Participant(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Participant::~Participant() {
    for (Impl::Lane& lane : impl_->lanes) lane.runtime.reset();
}

sqlite::Answer<std::unique_ptr<Participant>> Participant::open(ParticipantOptions options) {
    auto database = sqlite::Database::open(options.database, sqlite::Database::Access::read_write);
    if (!database.ok()) return database.error();
    auto there = database.value().integer(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ferry_saga_barrier'");
    if (!there.ok()) return there.error();
    if (!there.value()) {
        return Problem{Kind::schema, 0,
                       "there is no ferry_saga_barrier in " + options.database +
                           ": call Participant::init once"};
    }
    auto impl = std::make_unique<Impl>();
    impl->options = std::move(options);
    return std::unique_ptr<Participant>(new Participant(std::move(impl)));
}

void Participant::act(std::string routing_key, CallHandler handler) {
    impl_->acts[std::move(routing_key)] = std::move(handler);
}

void Participant::undo(std::string routing_key, CallHandler handler) {
    impl_->undos[std::move(routing_key)] = std::move(handler);
}

Status Participant::run(std::unique_ptr<consumer::Source> source, std::string_view queue) {
    consumer::InboxOptions inbox_options;
    inbox_options.consumer = impl_->options.name + "@" + std::string(queue);
    inbox_options.no_id = consumer::NoId::position;  // the barrier knows a repeated command
    inbox_options.on_event = impl_->options.on_event;
    inbox_options.busy_timeout = std::chrono::milliseconds(5'000);
    auto inbox = consumer::Inbox::open(impl_->options.database, std::move(inbox_options));
    if (!inbox.ok()) {
        if (impl_->options.on_event) impl_->options.on_event(inbox.error().text);
        return inbox.error().error();
    }
    consumer::RuntimeOptions options;
    options.name = impl_->options.name;
    options.threads = 2;
    options.batch = 256;
    options.inbox = inbox.value().get();
    options.on_event = impl_->options.on_event;
    consumer::Inbox* const inner = inbox.value().get();
    auto runtime = consumer::Runtime::start_batched(
        std::move(source),
        [this, inner](std::span<const consumer::Incoming> messages,
                      std::span<consumer::Handled> handled) {
            const std::scoped_lock lock(impl_->writing);
            inner->apply_batch(messages, handled,
                               [this](Effects& effects) { return handle(effects); });
        },
        options);
    if (!runtime.ok()) return runtime.error();
    impl_->lanes.push_back({std::move(inbox).value(), std::move(runtime).value()});
    return ok_status();
}

Status Participant::stop(consumer::Duration timeout) {
    Status all = ok_status();
    for (Impl::Lane& lane : impl_->lanes) {
        if (auto stopped = lane.runtime->stop(timeout); !stopped.ok()) all = stopped;
    }
    return all;
}

bool Participant::ended() const {
    for (const Impl::Lane& lane : impl_->lanes) {
        if (lane.runtime->ended()) return true;
    }
    return false;
}

ParticipantFigures Participant::figures() const {
    const Impl& i = *impl_;
    return {i.acted, i.undone, i.repeats, i.empty, i.hanging, i.stale};
}

// ---- one command ----

Handled Participant::handle(Effects& effects) {
    const consumer::Incoming& message = effects.message();
    const std::string* const step = text_header(message, contract::step);
    const std::string* const op = text_header(message, contract::op);
    if (step == nullptr || op == nullptr || message.properties().correlation_id.empty() ||
        (*op != "act" && *op != "undo")) {
        return Handled::poison("this is no saga's command: its headers are missing");
    }
    Call call{message.properties().correlation_id, *step, {}, 1, 0, message.payload(), {}, effects};
    if (const auto* name = text_header(message, contract::definition)) call.definition = *name;
    std::int64_t number = 0;
    if (message.header(contract::attempt, number) && number > 0) {
        call.attempt = static_cast<std::uint32_t>(number);
    }
    if (message.header(contract::token, number) && number > 0) {
        call.token = static_cast<std::uint64_t>(number);
    }
    const auto& handlers = *op == "act" ? impl_->acts : impl_->undos;
    const auto handler = handlers.find(message.routing_key());
    if (handler == handlers.end()) {
        return Handled::poison("nobody here handles " + *op + " of " +
                               std::string(message.routing_key()));
    }
    auto barrier = read_barrier(effects, call);
    if (!barrier) return effects.handled();
    if (call.token != 0 && call.token < barrier->token &&
        !FERRY_PLANTED("saga-stale-token-believed")) {
        ++impl_->stale;
        return Handled::done();
    }
    impl_->tidy(effects);
    Handled done = *op == "act" ? impl_->act(effects, call, *barrier, handler->second)
                                : impl_->undo(effects, call, *barrier, handler->second);
    return effects.handled().kind == Handled::Kind::done ? done : effects.handled();
}

/// Nothing: the database failed, and the whole message is put off.
std::optional<Said> Participant::Impl::attempt(Effects& effects, Call& call,
                                               const CallHandler& handler) {
    Said said;
    try {
        said = handler(call);
    } catch (const std::exception& error) {
        said = Said::again(std::string("it threw: ") + error.what());
    } catch (...) {
        said = Said::again("it threw something that is no std::exception");
    }
    if (effects.handled().kind != Handled::Kind::done) return std::nullopt;
    if (said.kind == Said::Kind::done && !said.text.empty() && !valid_json(said.text)) {
        said = Said::again("its result is no JSON");
    }
    // Nothing else was written for this message yet.
    if (said.kind != Said::Kind::done && !effects.undo()) return std::nullopt;
    return said;
}

Handled Participant::Impl::act(Effects& effects, Call& call, Barrier& barrier,
                               const CallHandler& handler) {
    if (barrier.undone == Undone::yes && !FERRY_PLANTED("saga-late-command-still-acts")) {
        ++hanging;
        write_barrier(effects, call, barrier);
        return answer(effects, call, "act", Said::failed("it was undone before it came"));
    }
    if (barrier.acted != Acted::no && !FERRY_PLANTED("saga-repeated-command-acts-again")) {
        ++repeats;
        write_barrier(effects, call, barrier);
        return answer(effects, call, "act",
                      barrier.acted == Acted::yes ? Said::done(barrier.result)
                                                  : Said::failed(barrier.reason));
    }
    if (barrier.there && call.token != 0 && call.token == barrier.token) {
        // It was answered "again" before. Doing it now, behind that answer, nobody would expect.
        ++stale;
        return Handled::done();
    }
    auto said = attempt(effects, call, handler);
    if (!said) return effects.handled();
    if (said->kind == Said::Kind::done) {
        ++acted;
        barrier.acted = Acted::yes;
        barrier.result = said->text;
        if (flag_header(effects.message(), contract::holds)) barrier.held = Held::yes;
        settle_try(effects, call);
    } else if (said->kind == Said::Kind::failed &&
               !flag_header(effects.message(), contract::retriable)) {
        // For good: a repeat must get the same answer, whatever has changed meanwhile.
        barrier.acted = Acted::failed;
        barrier.reason = plain(said->text, limits::reason_bytes_max);
    }
    write_barrier(effects, call, barrier);
    return answer(effects, call, "act", *said);
}

Handled Participant::Impl::undo(Effects& effects, Call& call, Barrier& barrier,
                                const CallHandler& handler) {
    if (barrier.undone == Undone::yes) {
        ++repeats;
        write_barrier(effects, call, barrier);
        return answer(effects, call, "undo", Said::done());
    }
    if (barrier.acted == Acted::yes) {
        call.result = barrier.result;
        auto said = attempt(effects, call, handler);
        if (!said) return effects.handled();
        if (said->kind == Said::Kind::done) {
            ++undone;
            barrier.undone = Undone::yes;
            if (barrier.held == Held::yes) barrier.held = Held::settled;
        }
        write_barrier(effects, call, barrier);
        return answer(effects, call, "undo", *said);
    }
    ++empty;
    barrier.undone = Undone::yes;
    write_barrier(effects, call, barrier);
    return answer(effects, call, "undo", Said::done());
}

Handled Participant::Impl::answer(Effects& effects, const Call& call, std::string_view op,
                                  const Said& said) {
    const consumer::Incoming& message = effects.message();
    if (message.properties().reply_to.empty()) return Handled::done();
    std::vector<outbox::Header> headers;
    headers.emplace_back(contract::step, call.step);
    headers.emplace_back(contract::op, std::string(op));
    headers.emplace_back(contract::attempt, static_cast<std::int64_t>(call.attempt));
    const bool done = said.kind == Said::Kind::done;
    headers.emplace_back(contract::answer,
                         std::string(done                              ? "done"
                                     : said.kind == Said::Kind::failed ? "failed"
                                                                       : "again"));
    if (!done) headers.emplace_back(contract::reason, plain(said.text, limits::reason_bytes_max));
    if (const auto* trace = text_header(message, contract::trace)) {
        headers.emplace_back(contract::trace, *trace);
    }
    outbox::Message out;
    out.routing_key = message.properties().reply_to;
    if (done) out.payload = as_bytes(said.text);
    out.ordering_key = call.saga;
    out.content_type = contract::json;
    out.headers = headers;
    out.correlation_id = call.saga;
    effects.publish(out);
    return effects.handled();
}

void Participant::Impl::tidy(Effects& effects) {
    const std::uint64_t now = system_clock().now().wall_ms;
    if (now < tidied_ms + tidy_every_ms) return;
    tidied_ms = now;
    const auto keep = static_cast<std::uint64_t>(options.remember.count());
    effects.run(
        "DELETE FROM ferry_saga_barrier WHERE (saga, step) IN (SELECT saga, step FROM "
        "ferry_saga_barrier WHERE changed_ms < ?1 AND held <> 1 ORDER BY changed_ms LIMIT ?2)",
        now > keep ? now - keep : 0, tidy_rows);
}

// ---- in doubt ----

sqlite::Answer<std::vector<Doubt>> doubts(const std::string& path, std::uint32_t at_most) {
    auto database = sqlite::Database::open(path, sqlite::Database::Access::read_only);
    if (!database.ok()) return database.error();
    auto there = database.value().integer(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ferry_saga_barrier'");
    if (!there.ok()) return there.error();
    if (!there.value()) {
        return Problem{
            Kind::schema, 0,
            "there is no ferry_saga_barrier in " + path + ": it is no participant's database"};
    }
    auto rows = database.value().prepare(
        "SELECT saga, step, token, result, changed_ms FROM ferry_saga_barrier WHERE held = 1 ORDER "
        "BY changed_ms LIMIT ?1");
    if (!rows.ok()) return rows.error();
    sqlite::Statement& row = rows.value();
    row.bind(1, at_most);
    std::vector<Doubt> out;
    for (;;) {
        auto more = row.step();
        if (!more.ok()) return more.error();
        if (!more.value()) return out;
        out.push_back({std::string(row.text(0)), std::string(row.text(1)),
                       static_cast<std::uint64_t>(row.integer(2)), std::string(row.text(3)),
                       static_cast<std::uint64_t>(row.integer(4))});
    }
}

}  // namespace ferry::saga
