#include "ferry/consumer/check_back.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "ferry/outbox/decision.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::consumer {
namespace {

using Kind = CheckReply::Kind;
using transport::ClientError;
using wire::Code;

constexpr std::uint32_t rows_at_once = 1'000;
constexpr Duration again_after{500};

ClientError rejected(std::string text) {
    return {Errc::rejected, Code::ok, std::move(text)};
}

// False: it is no check.
bool read_check(const Incoming& message, Check& out) {
    for (const auto& [name, value] : message.properties().headers) {
        const auto* text = std::get_if<std::string>(&value);
        const auto* number = std::get_if<std::int64_t>(&value);
        const auto whole =
            number != nullptr && *number > 0 ? static_cast<std::uint64_t>(*number) : 0;
        if (name == "ferry-check-id" && text != nullptr) out.id = *text;
        if (name == "ferry-check-attempt") out.attempt = whole;
        if (name == "ferry-check-prepared-ms") out.prepared_ms = whole;
        if (name == "ferry-check-producer" && text != nullptr) out.producer = *text;
    }
    return !out.id.empty() && out.id.size() <= ferry::limits::prepared_id_bytes_max;
}

}  // namespace

struct CheckBack::Impl {
    Impl(transport::Client& client_to_use, CheckBackOptions options_to_use)
        : client(client_to_use), options(std::move(options_to_use)) {}

    transport::Client& client;
    const CheckBackOptions options;
    std::mutex deciding;  // the database, or options.answer
    std::optional<sqlite::Database> database;
    struct {
        std::atomic<std::uint64_t> submitted{0}, dropped{0}, unknown{0}, again{0}, gone{0},
            conflicts{0}, forgotten{0};
    } counts;
    std::mutex waiting;
    std::condition_variable wake;
    bool stopping = false;
    std::thread tidier;
    std::unique_ptr<Runtime> runtime;  // last: its handlers use the rest

    void say(const std::string& line) const {
        if (options.on_event) options.on_event(line);
    }

    CheckReply ask(const Check& check) {
        const std::lock_guard lock(deciding);
        if (options.answer) return options.answer(check);
        const auto decided = outbox::settle_decision(*database, check.id);
        if (!decided.ok()) return {Kind::failed, decided.error().text};
        return {decided.value() == outbox::Decided::committed ? Kind::submit : Kind::drop, {}};
    }

    Handled handle(const Incoming& message) {
        Check check;
        if (!read_check(message, check))
            return Handled::poison("no check of a prepared message: it has no ferry-check-id");
        const CheckReply reply = ask(check);
        if (reply.kind == Kind::failed) {
            ++counts.again;
            return Handled::later(reply.reason, again_after);
        }
        if (reply.kind == Kind::unknown) {
            ++counts.unknown;
            return Handled::done();
        }
        const bool submit = reply.kind == Kind::submit;
        const auto told = submit ? client.submit(check.id) : client.drop(check.id);
        if (told.ok()) {
            auto& count = submit ? counts.submitted : counts.dropped;
            ++(told.value().duplicate ? counts.gone : count);
            return Handled::done();
        }
        const ClientError& error = told.error();
        if (error.wire_code == Code::no_such_prepared) {
            ++counts.gone;
            return Handled::done();
        }
        if (error.wire_code == Code::prepared_decided) {
            ++counts.conflicts;
            say("message '" + check.id + "' is " + (submit ? "committed" : "rolled back") +
                " here, but at the broker it was decided otherwise: " + error.text);
            return Handled::done();
        }
        ++counts.again;
        return Handled::later(error.text, again_after);
    }

    transport::Answer<std::set<std::string>> prepared_ids() {
        std::set<std::string> ids;
        std::string after;
        for (bool more = true; more;) {
            auto page = client.list_prepared(after);
            if (!page.ok()) return page.error();
            for (auto& prepared : page.value().prepared) ids.insert(std::move(prepared.id));
            more = page.value().more && !ids.empty();
            if (more) after = *ids.rbegin();
        }
        return ids;
    }

    transport::Answer<std::uint64_t> tidy() {
        if (!database) return std::uint64_t{0};
        const auto before =
            static_cast<std::int64_t>(system_clock().now().wall_ms) - options.retain.count();
        // Whose message is still prepared may be asked about again, be it by an operator's resume
        // in a year: that row stays.
        const auto prepared = prepared_ids();
        if (!prepared.ok()) return prepared.error();
        std::uint64_t forgotten = 0;
        outbox::DecisionRow last;
        for (bool more = true; more;) {
            const std::lock_guard lock(deciding);
            const auto rows = outbox::decisions_before(*database, before, last, rows_at_once);
            if (!rows.ok()) return rejected(rows.error().text);
            std::vector<std::string> old;
            for (const outbox::DecisionRow& row : rows.value()) {
                if (prepared.value().count(row.id) == 0) old.push_back(row.id);
                last = row;
            }
            if (!old.empty()) {
                if (auto done = outbox::forget_decisions(*database, old); !done.ok())
                    return rejected(done.error().text);
            }
            forgotten += old.size();
            more = rows.value().size() == rows_at_once;
        }
        counts.forgotten += forgotten;
        return forgotten;
    }

    void tidy_for_ever() {
        std::unique_lock lock(waiting);
        while (!wake.wait_for(lock, options.tidy_every, [this] { return stopping; })) {
            lock.unlock();
            if (const auto done = tidy(); !done.ok())
                say("old decisions could not be forgotten: " + done.error().text);
            lock.lock();
        }
    }

    void end_tidier() {
        {
            const std::lock_guard lock(waiting);
            stopping = true;
        }
        wake.notify_all();
        if (tidier.joinable()) tidier.join();
    }
};

CheckBack::CheckBack(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

transport::Answer<std::unique_ptr<CheckBack>> CheckBack::start(transport::Client& client,
                                                               CheckBackOptions options) {
    if (options.retain < check_retain_min)
        return rejected("decisions are kept for at least an hour");
    if (options.tidy_every.count() <= 0) return rejected("tidy_every is a positive duration");
    if (!options.answer && options.database.empty())
        return rejected("name the producer's database, or give a function that answers");
    auto impl = std::make_unique<Impl>(client, std::move(options));
    if (!impl->options.answer) {
        auto opened =
            sqlite::Database::open(impl->options.database, sqlite::Database::Access::read_write,
                                   impl->options.busy_timeout);
        if (!opened.ok()) return rejected(opened.error().text);
        if (auto fit = outbox::check_decisions(opened.value()); !fit.ok())
            return rejected(fit.error().text);
        impl->database.emplace(std::move(opened).value());
    }
    BrokerSourceOptions source_options;
    source_options.queue = impl->options.queue;
    source_options.dead_letter_queue = impl->options.dead_letter_queue;
    auto source = broker_source(client, source_options);
    if (!source.ok()) return source.error();
    RuntimeOptions running;
    running.name = "checkback";
    // One decides at a time anyway; the other waits for the broker's disk meanwhile.
    running.threads = 2;
    running.on_event = impl->options.on_event;
    Impl* const raw = impl.get();
    auto runtime = Runtime::start(
        std::move(source).value(), [raw](const Incoming& message) { return raw->handle(message); },
        std::move(running));
    if (!runtime.ok()) return rejected(std::string(runtime.error().what));
    impl->runtime = std::move(runtime).value();
    impl->tidier = std::thread([raw] { raw->tidy_for_ever(); });
    return std::unique_ptr<CheckBack>(new CheckBack(std::move(impl)));
}

CheckBack::~CheckBack() {
    impl_->runtime.reset();
    impl_->end_tidier();
}

Status CheckBack::stop(Duration timeout) {
    impl_->end_tidier();
    return impl_->runtime->stop(timeout);
}

CheckBackFigures CheckBack::figures() const {
    const auto& c = impl_->counts;
    return {c.submitted, c.dropped, c.unknown, c.again, c.gone, c.conflicts, c.forgotten};
}

Health CheckBack::health() const {
    return impl_->runtime->health();
}

bool CheckBack::ended() const {
    return impl_->runtime->ended();
}

transport::Answer<std::uint64_t> CheckBack::tidy() {
    return impl_->tidy();
}

}  // namespace ferry::consumer
