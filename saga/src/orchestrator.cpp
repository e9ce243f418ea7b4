#include "ferry/saga/orchestrator.hpp"

#include <set>

#include "changes.hpp"
#include "orchestrator_impl.hpp"
#include "schema.hpp"
#include "values.hpp"

namespace ferry::saga {
namespace {

using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

std::string random_name() {
    std::string out = "orchestrator-";
    std::uint64_t value = system_random().next();
    for (int i = 0; i < 12; ++i, value >>= 4U) out += "0123456789abcdef"[value & 15U];
    return out;
}

}  // namespace

namespace {

/// Whether the HTTP calls of a definition would be made.
Status can_call(const Definition& definition, const HttpCalls* calls) {
    for (const Step& step : definition.steps) {
        for (const Route* route :
             {&step.command, step.compensation ? &*step.compensation : nullptr}) {
            if (route == nullptr || route->url.empty()) continue;
            const std::string why = calls == nullptr ? "this orchestrator makes no HTTP calls"
                                                     : calls->refuses(route->url);
            if (why.empty()) continue;
            return Problem{Kind::refused, 0,
                           "saga " + definition.name + ": steps." + step.name + ": " + why};
        }
    }
    return sqlite::ok_status();
}

/// With the newest of what is stored.
Status fits_others(Store& store, const Definition& definition) {
    auto all = store.newest_definitions();
    if (!all.ok()) return all.error();
    std::vector<Definition> together;
    for (const Stored* one : all.value()) together.push_back(one->definition);
    std::set<std::string> known;  // were let in before
    for (const Complaint& one : check_together(together)) known.insert(one.where + one.what);
    together.push_back(definition);
    for (const Complaint& one : check_together(together)) {
        if (known.contains(one.where + one.what)) continue;
        return Problem{Kind::refused, 0, "saga " + one.where + ": " + one.what};
    }
    return sqlite::ok_status();
}

}  // namespace

sqlite::Status Orchestrator::init(const std::string& path) {
    if (auto made = consumer::Inbox::init(path); !made.ok()) return made.error();
    outbox::Options options;
    options.init = true;
    options.wake_hook = false;
    auto opened = outbox::Outbox::open(path, options);
    if (!opened.ok()) return opened.error();
    return make_schema(opened.value().database());
}

Orchestrator::Orchestrator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Orchestrator::~Orchestrator() = default;

sqlite::Answer<std::unique_ptr<Orchestrator>> Orchestrator::open(OrchestratorOptions options) {
    if (options.name.empty()) options.name = random_name();
    if (options.name.size() > limits::name_bytes_max) {
        return Problem{Kind::refused, 0, "an orchestrator's name has at most 100 bytes"};
    }
    if (options.lease.count() < 100 || options.batch == 0 || options.retain.count() < 0) {
        return Problem{Kind::refused, 0,
                       "a lease lasts 100 ms at least, a batch has one saga at least, and what is "
                       "kept is not kept for less than no time"};
    }
    auto impl = std::make_unique<Impl>(std::move(options));
    if (auto opened = impl->open(); !opened.ok()) return opened.error();
    return std::unique_ptr<Orchestrator>(new Orchestrator(std::move(impl)));
}

sqlite::Status Orchestrator::add(const Definition& definition) {
    const auto complaints = check(definition);
    if (!complaints.empty()) {
        return Problem{Kind::refused, 0,
                       "saga " + definition.name + ": " + complaints.front().where + ": " +
                           complaints.front().what};
    }
    if (auto made = can_call(definition, impl_->options.http.get()); !made.ok()) return made;
    return impl_->ask({[&](Runner& runner, std::uint64_t now_ms, const Runner::Publish&) {
                           if (auto fits = fits_others(runner.store(), definition); !fits.ok()) {
                               return fits;
                           }
                           auto added = runner.store().add_definition(definition, now_ms);
                           return added.ok() ? sqlite::ok_status() : Status(added.error());
                       },
                       {}});
}

namespace {

using StartDone = std::function<void(const sqlite::Answer<Started>&)>;

}  // namespace

void Orchestrator::start_async(std::string definition, std::string id, std::string input_json,
                               std::function<void(const sqlite::Answer<Started>&)> done) {
    auto request = std::make_shared<StartRequest>();
    request->definition = std::move(definition);
    request->id = std::move(id);
    request->input = std::move(input_json);
    auto answer = std::make_shared<Started>();
    impl_->post(
        {[request, answer](Runner& runner, std::uint64_t now_ms, const Runner::Publish& publish) {
             auto started = runner.start(*request, now_ms, publish);
             if (!started.ok()) return Status(started.error());
             *answer = {started.value().created, started.value().state};
             return sqlite::ok_status();
         },
         [answer, done = std::move(done)](const Status& status) {
             if (done) done(status.ok() ? sqlite::Answer<Started>(*answer) : status.error());
         }});
}

sqlite::Answer<Started> Orchestrator::start(std::string_view definition, std::string_view id,
                                            std::string_view input_json,
                                            std::string_view traceparent) {
    StartRequest request;
    request.id = id;
    request.definition = definition;
    request.input = input_json;
    request.traceparent = traceparent;
    Started out;
    auto done =
        impl_->ask({[&](Runner& runner, std::uint64_t now_ms, const Runner::Publish& publish) {
                        auto started = runner.start(request, now_ms, publish);
                        if (!started.ok()) return Status(started.error());
                        out = {started.value().created, started.value().state};
                        return sqlite::ok_status();
                    },
                    {}});
    if (!done.ok()) return done.error();
    return out;
}

sqlite::Status Orchestrator::signal(std::string_view id, std::string_view name,
                                    std::string_view json) {
    if (!valid_json(json)) return Problem{Kind::refused, 0, "a signal's payload is JSON"};
    return impl_->ask({[&](Runner& runner, std::uint64_t now_ms, const Runner::Publish& publish) {
                           return change(runner, id, Signal{std::string(name), std::string(json)},
                                         impl_->options.name, "signal", name, now_ms, publish);
                       },
                       {}});
}

sqlite::Status Orchestrator::cancel(std::string_view id, std::string_view reason) {
    return impl_->ask({[&](Runner& runner, std::uint64_t now_ms, const Runner::Publish& publish) {
                           return change(runner, id, Cancel{std::string(reason)},
                                         impl_->options.name, "cancel", reason, now_ms, publish);
                       },
                       {}});
}

const std::string& Orchestrator::queue() const {
    return impl_->queue;
}

ferry::Status Orchestrator::run(std::unique_ptr<consumer::Source> source) {
    FERRY_ASSERT(impl_->runtime == nullptr, "run() is called once");
    consumer::RuntimeOptions options;
    options.name = "saga";
    options.threads = 2;
    options.batch = impl_->options.batch;
    options.inbox = impl_->inbox.get();
    options.on_event = impl_->options.on_event;
    Impl* const impl = impl_.get();
    auto runtime = consumer::Runtime::start_batched(
        std::move(source),
        [impl](std::span<const consumer::Incoming> messages, std::span<consumer::Handled> handled) {
            const std::scoped_lock lock(impl->writing);
            impl->member_checked = false;
            impl->batch = messages;
            impl->next_place = 0;
            impl->inbox->apply_batch(messages, handled, [impl](consumer::Effects& effects) {
                return impl->incoming(effects);
            });
            impl->committed(handled);
        },
        options);
    if (!runtime.ok()) return runtime.error();
    impl_->runtime = std::move(runtime).value();
    return ok_status();
}

ferry::Status Orchestrator::stop(Duration timeout) {
    ferry::Status stopped = ok_status();
    if (impl_->runtime) stopped = impl_->runtime->stop(timeout);
    if (impl_->desk) impl_->desk->stop();
    {
        const std::scoped_lock lock(impl_->mutex);
        impl_->stopping = true;
    }
    impl_->changed.notify_all();
    if (impl_->worker.joinable()) impl_->worker.join();
    return stopped;
}

SagaFigures Orchestrator::figures() const {
    return impl_->metrics.figures();
}

SagaHealth Orchestrator::health() const {
    if (!impl_->metrics.figures().member) {
        return {false, "this orchestrator holds no lease: its database is locked or broken"};
    }
    if (!impl_->runtime) return {true, {}};
    const consumer::Health health = impl_->runtime->health();
    return {health.ok, health.reason};
}

std::string Orchestrator::metrics() const {
    std::map<std::string, std::uint64_t> open;
    auto database =
        sqlite::Database::open(impl_->options.database, sqlite::Database::Access::read_only);
    if (database.ok()) {
        auto states = database.value().prepare(
            "SELECT state, count(*) FROM ferry_saga WHERE ended_ms IS NULL GROUP BY state");
        for (std::size_t i = 0; i < 4; ++i) {
            open[std::string(name_of(static_cast<SagaState>(i)))] = 0;
        }
        while (states.ok()) {
            auto row = states.value().step();
            if (!row.ok() || !row.value()) break;
            const std::int64_t state = states.value().integer(0);
            if (state < 0 || state >= static_cast<std::int64_t>(detail::saga_states)) continue;
            open[std::string(name_of(static_cast<SagaState>(state)))] =
                static_cast<std::uint64_t>(states.value().integer(1));
        }
    }
    return impl_->metrics.render(open) + (impl_->runtime ? impl_->runtime->metrics() : "");
}

}  // namespace ferry::saga
