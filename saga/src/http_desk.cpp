#include "http_desk.hpp"

#include "contract.hpp"
#include "http_reply.hpp"

namespace ferry::saga {
namespace {

using Time = std::chrono::steady_clock;

/// Calls may also be wanted by other processes (ferry saga start, retry), which tell nobody.
constexpr std::chrono::milliseconds look_again{200};

HttpRequest request_of(const HttpCall& call, std::uint64_t now_ms) {
    HttpRequest out;
    out.method = call.method;
    out.url = call.url;
    out.body = call.body;
    out.timeout = Duration(call.due_ms - now_ms);
    out.headers = {
        {"Content-Type", std::string(contract::json)},
        {"Accept", std::string(contract::json)},
        {"Idempotency-Key", idempotency_key(call.saga, call.step, call.op)},
        {std::string(contract::step), call.step},
        {std::string(contract::op), call.op == Op::undo ? "undo" : "act"},
        {std::string(contract::attempt), std::to_string(call.attempt)},
        {std::string(contract::token), std::to_string(call.token)},
        {std::string(contract::definition), call.definition},
        {std::string(contract::trace), call.trace},
    };
    if (call.retriable) out.headers.emplace_back(contract::retriable, "true");
    return out;
}

HttpAnswer not_made(std::string why) {
    HttpAnswer out;
    out.kind = HttpAnswer::Kind::not_sent;
    out.problem = std::move(why);
    return out;
}

}  // namespace

HttpDesk::HttpDesk(std::string database, std::shared_ptr<HttpCalls> calls, Host host,
                   Metrics& metrics)
    : path_(std::move(database)),
      calls_(std::move(calls)),
      host_(std::move(host)),
      metrics_(metrics) {}

HttpDesk::~HttpDesk() {
    stop();
}

sqlite::Status HttpDesk::start() {
    auto opened = sqlite::Database::open(path_, sqlite::Database::Access::read_only);
    if (!opened.ok()) return opened.error();
    database_.emplace(std::move(opened).value());
    store_.emplace(*database_);
    if (auto ready = store_->prepare(); !ready.ok()) return ready;
    thread_ = std::thread([this] { work(); });
    return sqlite::ok_status();
}

void HttpDesk::stop() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
    // A callback that comes now may hold the last reference to this: nothing that joins threads or
    // closes files is left to it.
    store_.reset();
    database_.reset();
    calls_.reset();
}

void HttpDesk::wake() {
    {
        const std::scoped_lock lock(mutex_);
        woken_ = true;
    }
    changed_.notify_one();
}

void HttpDesk::work() {
    for (;;) {
        std::deque<Finished> answers;
        bool now_and_then = false;
        {
            std::unique_lock lock(mutex_);
            changed_.wait_for(lock, look_again,
                              [this] { return stopping_ || woken_ || !answers_.empty(); });
            if (stopping_) return;
            woken_ = false;
            answers.swap(answers_);
            now_and_then = Time::now() >= looked_around_ + look_again;
            if (now_and_then) {
                looked_around_ = Time::now();
                for (Finished& one : put_off_) answers.push_back(std::move(one));
                put_off_.clear();
            }
        }
        for (Finished& one : answers) record(std::move(one));
        if (auto looked = look(); !looked.ok())
            host_.say("HTTP calls wait: " + looked.error().text);
        if (now_and_then) adopt_orphans();
    }
}

// ---- what is wanted ----

sqlite::Status HttpDesk::look() {
    {
        const std::scoped_lock lock(mutex_);
        const std::uint64_t fence = host_.fence();
        if (fence != fence_ || adopted_) cursor_ = 0;
        fence_ = fence;
        adopted_ = false;
    }
    for (;;) {
        std::size_t room = 0;
        {
            const std::scoped_lock lock(mutex_);
            metrics_.http_under_way(taken_.size());
            if (taken_.size() >= calls_->at_once()) return sqlite::ok_status();
            room = calls_->at_once() - taken_.size();
        }
        auto found = store_->of(fence_, cursor_, room);
        if (!found.ok()) return found.error();
        if (found.value().empty()) return sqlite::ok_status();
        for (HttpCall& call : found.value()) {
            cursor_ = call.key;
            begin(std::move(call));
        }
    }
}

void HttpDesk::begin(HttpCall call) {
    {
        const std::scoped_lock lock(mutex_);
        if (!taken_.insert(call.key).second) return;
    }
    const std::uint64_t now_ms = host_.now_ms();
    Finished one;
    if (call.due_ms <= now_ms) {
        one.call = std::move(call);
        return finished(std::move(one));
    }
    if (std::string why = calls_->refuses(call.url); !why.empty()) {
        one.call = std::move(call);
        one.answer = not_made(std::move(why));
        return finished(std::move(one));
    }
    HttpRequest request = request_of(call, now_ms);
    calls_->start(std::move(request), [weak = weak_from_this(), call = std::move(call),
                                       begun = Time::now()](HttpAnswer answer) mutable {
        const auto desk = weak.lock();
        if (!desk) return;
        const std::chrono::duration<double> took = Time::now() - begun;
        desk->finished({std::move(call), std::move(answer), took.count(), false});
    });
}

/// What belonged to an orchestrator that is gone, or was wanted by a program that makes no calls.
void HttpDesk::adopt_orphans() {
    const auto any = store_->any_orphan();
    if (!any.ok() || !any.value()) return;
    const auto self = shared_from_this();
    host_.change(
        [self](Runner& runner, std::uint64_t, const Runner::Publish&) {
            return runner.store().calls().adopt(self->host_.fence());
        },
        [self](const sqlite::Status& status) {
            if (!status.ok()) return;
            const std::scoped_lock lock(self->mutex_);
            self->adopted_ = true;
            self->woken_ = true;
            self->changed_.notify_one();
        });
}

// ---- answers ----

void HttpDesk::finished(Finished one) {
    {
        const std::scoped_lock lock(mutex_);
        answers_.push_back(std::move(one));
    }
    changed_.notify_one();
}

void HttpDesk::record(Finished finished) {
    auto one = std::make_shared<Finished>(std::move(finished));
    const auto self = shared_from_this();
    host_.change(
        [self, one](Runner& runner, std::uint64_t now_ms, const Runner::Publish& publish) {
            const HttpCall& call = one->call;
            auto mine = runner.store().calls().take(call.key, self->host_.fence());
            if (!mine.ok()) return sqlite::Status(mine.error());
            // Somebody else makes it now, with the same key, and records the answer.
            if (!mine.value() || one->hopeless || !one->answer) return sqlite::ok_status();
            Reply reply = reply_of(*one->answer, call.repeated);
            reply.op = call.op;
            reply.attempt = call.attempt;
            auto fed = runner.answer(call.saga, call.step, std::move(reply), now_ms, publish);
            if (fed.ok() || fed.error().kind == sqlite::Kind::not_found) {
                return sqlite::ok_status();
            }
            return sqlite::Status(fed.error());
        },
        [self, one](const sqlite::Status& status) { self->recorded(one, status); });
}

void HttpDesk::recorded(std::shared_ptr<Finished> one, const sqlite::Status& status) {
    if (status.ok() && one->answer) {
        const Reply reply = reply_of(*one->answer, one->call.repeated);
        metrics_.http_call(reply.answer == Answer::done     ? "done"
                           : reply.answer == Answer::failed ? "failed"
                           : reply.answer == Answer::again  ? "again"
                                                            : "unknown",
                           one->seconds);
    }
    const bool damaged = !status.ok() && (status.error().kind == sqlite::Kind::corrupt ||
                                          status.error().kind == sqlite::Kind::refused);
    if (damaged) host_.say("saga " + one->call.saga + " cannot go on: " + status.error().text);
    {
        const std::scoped_lock lock(mutex_);
        if (status.ok()) {
            taken_.erase(one->call.key);
            woken_ = true;
        } else {
            one->hopeless = one->hopeless || damaged;
            put_off_.push_back(std::move(*one));
        }
    }
    changed_.notify_one();
}

}  // namespace ferry::saga
