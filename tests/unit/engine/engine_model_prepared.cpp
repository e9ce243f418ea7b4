// The model's producers without an outbox.

#include "engine_model.hpp"

namespace ferry::engine::testing {

void EngineModel::change_prepared() {
    // Few ids, so that decisions meet each other.
    std::string id = "p" + std::to_string(random_.below(12)) + "-" +
                     std::to_string(static_cast<unsigned>(step_) / 60);
    const std::uint64_t dice = random_.below(10);
    if (dice >= 5 && !log_.prepared.empty() && random_.below(3) != 0) {
        const auto which = static_cast<std::ptrdiff_t>(random_.below(log_.prepared.size()));
        id = std::next(log_.prepared.begin(), which)->first;
    }
    const std::uint64_t request = next_request_++;
    const SessionId session = some_session();
    const std::uint64_t asked = engine_->totals().prepared_submitted;
    if (dice < 5) {
        Prepared wanted;
        wanted.id = id;
        wanted.check_queue = some_queue();
        wanted.check_after_ms = 100 + random_.below(2'000);
        wanted.max_checks = static_cast<std::uint32_t>(1 + random_.below(3));
        wire::Properties properties;
        if (random_.below(2) == 0) properties.id = "id" + std::to_string(random_.below(20));
        if (random_.below(4) == 0) properties.deliver_at_ms = now().wall_ms + random_.below(3'000);
        properties.priority = static_cast<std::uint8_t>(random_.below(4));
        if (random_.below(2) == 0) properties.ordering_key = "k";
        wanted.message = message(dice == 0 ? "amq.fanout" : "", some_queue(),
                                 "prepared " + std::to_string(random_.below(3)), properties);
        deciding_[request] = {Decide::prepare, id};
        if (!engine_->prepare(session, request, std::move(wanted), now()))
            problem("a sound message is malformed");
    } else if (dice < 7) {
        deciding_[request] = {Decide::submit, id};
        engine_->submit(session, request, id, now());
    } else if (dice < 9) {
        deciding_[request] = {Decide::drop, id};
        engine_->drop_prepared(session, request, id, now());
    } else {
        deciding_[request] = {Decide::resume, id};
        engine_->resume_prepared(session, request, id, now());
    }
    submitted += engine_->totals().prepared_submitted - asked;
    after_call();
    check_prepared();
}

void EngineModel::drop_all_prepared() {
    for (const PreparedView& view : engine_->prepared("", 1000, false)) {
        const std::string id = view.prepared->id;
        engine_->drop_prepared(sessions_[0], next_request_++, id, now());
    }
}

void EngineModel::check_prepared() {
    const std::vector<PreparedView> views = engine_->prepared("", 1000, false);
    if (views.size() != log_.prepared.size())
        return problem("other messages are prepared than the log says");
    auto expected = log_.prepared.begin();
    for (const PreparedView& view : views) {
        const Prepared& p = *view.prepared;
        if (p.id != expected->first || p.checks != expected->second.checks ||
            p.parked != expected->second.parked) {
            return problem("prepared " + p.id + " is not as the log says");
        }
        if (p.checks > p.max_checks) problem("too many checks for " + p.id);
        if (p.asked > 0) ++checks;
        ++expected;
    }
}

void EngineModel::on_prepared(const Reply& reply) {
    const auto found = deciding_.find(reply.request);
    if (found == deciding_.end()) return;
    const auto [what, id] = found->second;
    deciding_.erase(found);
    const bool said_so = std::holds_alternative<PreparedAnswer>(reply.answer);
    const auto waiting = log_.prepared.find(id);
    const auto decision = log_.decided.find(id);
    if (!said_so) {
        const auto* failure = std::get_if<Failure>(&reply.answer);
        const bool known = waiting != log_.prepared.end() || decision != log_.decided.end();
        if (failure != nullptr && failure->code == Code::no_such_prepared && known &&
            what != Decide::prepare) {
            problem("a decision about " + id + " is forgotten");
        }
        return;
    }
    if (what == Decide::prepare || what == Decide::resume) {
        // It may have been decided meanwhile.
        const bool durably = waiting != log_.prepared.end() ? waiting->second.at < durable_
                                                            : decision != log_.decided.end();
        if (!durably) problem(id + " is not durably prepared");
        return;
    }
    if (decision == log_.decided.end() || decision->second.at >= durable_ ||
        decision->second.submitted != (what == Decide::submit)) {
        problem(id + " was not decided as its producer is told");
    }
}

}  // namespace ferry::engine::testing
