#include <algorithm>
#include <utility>

#include "changes.hpp"
#include "contract.hpp"
#include "orchestrator_impl.hpp"
#include "values.hpp"

// Messages to the orchestrator's queue, each within the inbox's transaction.

namespace ferry::saga {
namespace {

using consumer::Handled;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Status;

std::string text_header(const consumer::Incoming& message, std::string_view name) {
    for (const auto& [key, value] : message.properties().headers) {
        if (key != name) continue;
        const auto* text = std::get_if<std::string>(&value);
        return text == nullptr ? std::string() : *text;
    }
    return {};
}

/// Nothing: the answer is not one.
std::optional<Reply> reply_of(const consumer::Incoming& message, std::string& wrong) {
    Reply reply;
    const std::string answer = text_header(message, contract::answer);
    const std::string op = text_header(message, contract::op);
    if (answer == "done") {
        reply.answer = Answer::done;
    } else if (answer == "failed") {
        reply.answer = Answer::failed;
    } else if (answer == "again") {
        reply.answer = Answer::again;
    } else {
        wrong = "the header ferry-saga-answer must be done, failed or again";
        return std::nullopt;
    }
    if (op != "act" && op != "undo") {
        wrong = "the header ferry-saga-op must be act or undo, as in the command";
        return std::nullopt;
    }
    reply.op = op == "undo" ? Op::undo : Op::act;
    std::int64_t attempt = 0;
    if (message.header(contract::attempt, attempt) && attempt > 0 && attempt <= UINT32_MAX) {
        reply.attempt = static_cast<std::uint32_t>(attempt);
    }
    reply.reason = text_header(message, contract::reason);
    const std::string_view payload = message.payload();
    if (reply.answer == Answer::done && !payload.empty() && reply.op == Op::act) {
        if (!valid_json(payload)) {
            wrong = "the result of step " + text_header(message, contract::step) + " is no JSON";
            return std::nullopt;
        }
        reply.result = payload;
    }
    return reply;
}

Handled handled(const Problem& problem) {
    // It can never be otherwise: for people to look at.
    if (problem.kind == Kind::refused || problem.kind == Kind::conflict) {
        return Handled::poison(problem.text);
    }
    return consumer::handled_of(problem);
}

}  // namespace

Status Orchestrator::Impl::prepare_replies(const consumer::Effects& effects) {
    if (reply_runner) return sqlite::ok_status();
    auto made = Store::open(effects.database());
    if (!made.ok()) return made.error();
    if (auto trusted = made.value()->trust_own_rows(); !trusted.ok()) return trusted;
    reply_store = std::move(made).value();
    Random& random = options.random == nullptr ? reply_dice : *options.random;
    reply_runner = std::make_unique<Runner>(*reply_store, queue, random, caller());
    return sqlite::ok_status();
}

Handled Orchestrator::Impl::incoming(consumer::Effects& effects) {
    if (auto ready = prepare_replies(effects); !ready.ok()) return handled(ready.error());
    const auto place = static_cast<std::size_t>(&effects.message() - batch.data());
    // The batch may run a second time, in another transaction.
    if (place < next_place) member_checked = false;
    next_place = place + 1;
    while (!uncommitted.empty() && uncommitted.back().first >= place) uncommitted.pop_back();
    if (!member_checked) {
        // Nobody else writes before this transaction ends: what holds for its first message holds
        // for all.
        auto member = still_member(*reply_store);
        if (!member.ok()) return handled(member.error());
        if (!member.value()) return Handled::later("this orchestrator's lease has ended");
        member_checked = true;
    }
    Handled done = dispatch(effects, wall.now_ms());
    for (const Tally::Entry& one : reply_runner->take_tally().entries) {
        uncommitted.emplace_back(place, one);
    }
    return done;
}

/// Counts only what is on disk: a commit that fails makes all of its messages fail.
void Orchestrator::Impl::committed(std::span<const consumer::Handled> all) {
    Tally tally;
    for (const auto& [place, one] : uncommitted) {
        const bool kept = all[place].kind == Handled::Kind::done && !all[place].duplicate;
        if (kept) tally.entries.push_back(one);
    }
    uncommitted.clear();
    metrics.add(tally);
    metrics.transaction();
    const bool any = std::any_of(
        all.begin(), all.end(), [](const Handled& one) { return one.kind == Handled::Kind::done; });
    if (any && reply_store) committed_calls(*reply_store);
}

Handled Orchestrator::Impl::dispatch(consumer::Effects& effects, std::uint64_t now_ms) {
    const consumer::Incoming& message = effects.message();
    const std::string& id = message.properties().correlation_id;
    const Runner::Publish send = [&effects](const outbox::Message& out) -> Status {
        if (effects.publish(out)) return sqlite::ok_status();
        return Problem{Kind::failed, 0, effects.handled().reason};
    };
    if (id.empty())
        return Handled::poison("a message to sagas carries the saga's id as correlation id");
    Status done = sqlite::ok_status();
    if (const std::string name = text_header(message, contract::start); !name.empty()) {
        StartRequest request;
        request.id = id;
        request.definition = name;
        request.input = message.payload().empty() ? "{}" : std::string(message.payload());
        request.traceparent = text_header(message, contract::trace);
        auto started = reply_runner->start(request, now_ms, send);
        if (!started.ok()) done = started.error();
    } else if (const std::string signal = text_header(message, contract::signal); !signal.empty()) {
        const std::string payload =
            message.payload().empty() ? "{}" : std::string(message.payload());
        if (!valid_json(payload)) return Handled::poison("a signal's payload is JSON");
        auto fed = reply_runner->feed(id, Signal{signal, payload}, now_ms, send);
        if (!fed.ok()) done = fed.error();
    } else if (const std::string why = text_header(message, contract::cancel); !why.empty()) {
        auto fed = reply_runner->feed(id, Cancel{why}, now_ms, send);
        if (!fed.ok()) done = fed.error();
    } else {
        std::string wrong;
        auto reply = reply_of(message, wrong);
        if (!reply) return Handled::poison(wrong);
        auto fed = reply_runner->answer(id, text_header(message, contract::step), std::move(*reply),
                                        now_ms, send);
        if (!fed.ok()) done = fed.error();
        // Of a saga that is not there any more, or never was: counted, and nothing else.
        if (!done.ok() && done.error().kind == Kind::not_found) return Handled::done();
    }
    if (effects.handled().kind != Handled::Kind::done) return effects.handled();
    return done.ok() ? Handled::done() : handled(done.error());
}

}  // namespace ferry::saga
