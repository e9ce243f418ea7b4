// The model's holders of locks.

#include "engine_model.hpp"

namespace ferry::engine::testing {

void EngineModel::change_locks() {
    const std::string name = "lock" + std::to_string(random_.below(3));
    const std::string holder = "h" + std::to_string(random_.below(5));
    const std::uint64_t request = next_request_++;
    const SessionId session = some_session();
    const std::uint64_t dice = random_.below(20);
    const auto known = log_locks_.locks.find(name);
    Position token = 0;
    if (known != log_locks_.locks.end()) {
        for (const auto& [at, who] : known->second.grants) token = who == holder ? at : token;
    }
    if (random_.below(8) == 0 && !log_locks_.tokens.empty())
        token = log_locks_.tokens.begin()->first;  // an old one
    if (dice < 10) {
        LockCommand command;
        command.session = session;
        command.request = request;
        command.name = name;
        command.holder = holder;
        command.ttl_ms = 1'000 + random_.below(5'000);
        command.delay_ms = random_.below(2) * random_.below(3'000);
        command.permits = name == "lock2" ? 2 : 1;
        command.wait = random_.below(3) != 0;
        locking_[request] = name;
        engine_->lock(command, now());
    } else if (dice < 15) {
        engine_->unlock(session, request, name, holder, token, now());
    } else if (dice < 19) {
        engine_->renew_lock(session, request, name, holder, token, now());
    } else {
        engine_->force_unlock(session, request, name, 0, now());
    }
    after_call();
    check_locks();
}

void EngineModel::check_locks() {
    for (std::string& text : log_locks_.problems) problem(std::move(text));
    log_locks_.problems.clear();
    const std::vector<LockView> views = engine_->locks("", 1000, now());
    if (views.size() != log_locks_.locks.size())
        return problem("there are other locks than the log says");
    for (const LockView& view : views) {
        const LockView whole = engine_->lock(view.name, now()).value_or(LockView{});
        const auto expected = log_locks_.locks.find(view.name);
        if (expected == log_locks_.locks.end()) return problem("a lock is not in the log");
        const LogLocks::Lock& lock = expected->second;
        bool same = view.permits == lock.permits && view.delayed == lock.shut.size() &&
                    whole.holders.size() == lock.grants.size() &&
                    whole.waiters.size() == lock.line.size();
        std::size_t i = 0;
        for (const auto& [token, holder] : lock.grants) {
            same = same && whole.holders[i].token == token && whole.holders[i].holder == holder;
            ++i;
        }
        for (i = 0; same && i < lock.line.size(); ++i)
            same = whole.waiters[i].holder == lock.line[i];
        if (!same) return problem("lock " + view.name + " is not as the log says");
    }
}

// Until nobody holds or awaits one, and every delay is over.
void EngineModel::end_locks() {
    for (int i = 0; i < 60 && engine_->totals().locks != 0; ++i) {
        for (const LockView& view : engine_->locks("", 1000, now()))
            engine_->force_unlock(sessions_[0], next_request_++, view.name, 0, now());
        after_call();
        expire();
    }
}

void EngineModel::on_lock(const Reply& reply) {
    const auto found = locking_.find(reply.request);
    if (found == locking_.end()) return;
    const std::string name = found->second;
    locking_.erase(found);
    if (const auto* answer = std::get_if<LockAnswer>(&reply.answer))
        check_token(name, answer->token);
}

void EngineModel::on(const LockTold& told) {
    if (told.granted) check_token(told.name, told.token);
}

// Whatever becomes of it later: who is told of a token has one that is durable and this lock's.
void EngineModel::check_token(const std::string& name, Position token) {
    if (token == 0) return;
    ++granted;
    if (token >= durable_) problem("a holder is told of what is not durable");
    const auto grant = log_locks_.tokens.find(token);
    if (grant == log_locks_.tokens.end() || grant->second != name)
        problem("a holder is told of a token that was never granted");
}

}  // namespace ferry::engine::testing
