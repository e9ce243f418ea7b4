// What the clients of EngineModel do.

#include "engine_model.hpp"

namespace ferry::engine::testing {

void EngineModel::open_session() {
    sessions_.push_back(next_session_);
    engine_->open_session(next_session_++);
}

void EngineModel::close_session() {
    if (sessions_.size() < 2) return;
    const SessionId id = some_session();
    std::erase(sessions_, id);
    for (auto at = subs_.begin(); at != subs_.end();) {
        if (at->first.first != id) {
            ++at;
            continue;
        }
        for (const auto& [tag, held] : at->second.held)
            held_.erase({at->second.queue_id, held.position});
        at = subs_.erase(at);
    }
    std::erase_if(clients_, [&](const auto& c) { return c.first.first == id; });
    transacting_.clear();  // answers of the session that is gone do not come for sure
    std::erase_if(unanswered_, [&](const auto& u) { return std::get<0>(u.first) == id; });
    engine_->close_session(id, now());
    after_call();
    check_queues(true);
}

void EngineModel::open_producer(SessionId session, const std::string& name, bool new_epoch) {
    const std::uint64_t request = next_request_++;
    std::optional<std::uint64_t> epoch;
    const LogReader::Producer* p = log_.producer(name);
    if (new_epoch && p != nullptr) epoch = p->epoch + 1;
    engine_->open_producer(session, request, name, epoch, false, now());
    after_call();
    p = log_.producer(name);
    opening_[request] = {session, name, p->epoch, p->mark};
}

void EngineModel::publish() {
    const SessionId session = some_session();
    const std::string name = random_.below(3) == 0 ? "other" : "main";
    const auto client = clients_.find({session, name});
    if (client == clients_.end() || random_.below(40) == 0) {
        open_producer(session, name, random_.below(4) == 0);
        return;
    }
    const LogReader::Producer* p = log_.producer(name);
    const std::uint64_t burst = random_.below(6) == 0 ? 30 : 1 + random_.below(3);
    for (std::uint64_t b = 0; b < burst; ++b) {
        Sequence first = p->mark + 1;
        if (random_.below(8) == 0) first -= std::min<Sequence>(p->mark, random_.below(6));
        if (!p->open.empty() && random_.below(3) == 0) first = *p->open.begin();
        if (random_.below(60) == 0) first += 1 + random_.below(3);
        const std::uint64_t count = burst > 3 ? 1 : 1 + random_.below(8);
        std::vector<std::byte> bytes;
        wire::Encoder out(bytes);
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t route = random_.below(16);
            const std::string payload = name + std::to_string(p->epoch) + "." +
                                        std::to_string(first + i) +
                                        std::string(random_.below(3) * 40, '.');
            const std::string_view exchange = route == 0   ? "missing"
                                              : route <= 4 ? "amq.fanout"
                                                           : "";
            const std::string key =
                route == 1 ? "nobody" : queue_names_[route <= 7 ? 0 : route % 5];
            out.array(4).str(exchange).str(key);
            const std::uint64_t time = random_.below(24);
            const std::string ordering_key =
                random_.below(6) == 0 ? "" : "k" + std::to_string(random_.below(9));
            if (time == 0) {
                out.map(2).uint(7).uint(now_.wall_ms + random_.below(6000));
                out.uint(1).str("id" + std::to_string(random_.below(20)));
            } else if (time == 1) {
                out.map(1).uint(6).uint(now_.wall_ms + random_.below(6000));
            } else if (time < 8) {
                out.map(2).uint(8).uint(random_.below(10));
                out.uint(1).str("m" + std::to_string(random_.below(300)));
            } else if (ordering_key.empty()) {
                out.nil();
            } else {
                out.map(1).uint(2).str(ordering_key);
            }
            out.bin(as_bytes(payload));
            ++unanswered_[{session, client->second.handle, first + i}];
        }
        PublishCommand command;
        command.session = session;
        command.producer = client->second.handle;
        command.first = first;
        command.flags = random_.below(4) == 0 ? wire::publish_mandatory : 0;
        if (random_.below(20) == 0 && !p->open.empty()) {
            command.settled = *p->open.begin();
            given_up_[{name, p->epoch}] = command.settled;
        }
        command.count = static_cast<std::uint32_t>(count);
        command.messages = bytes;
        if (!engine_->publish(command, now())) problem("a good publish is called malformed");
        after_call();
        p = log_.producer(name);
    }
}

void EngineModel::subscribe() {
    if (subs_.size() > 6 && random_.below(3) != 0) {
        auto at =
            std::next(subs_.begin(), static_cast<std::ptrdiff_t>(random_.below(subs_.size())));
        const SubKey key = at->first;
        for (const auto& [tag, held] : at->second.held)
            held_.erase({at->second.queue_id, held.position});
        subs_.erase(at);
        engine_->unsubscribe(key.first, next_request_++, key.second, now());
        after_call();
        return;
    }
    Sub sub;
    sub.queue = some_queue();
    sub.queue_id = log_.id_of(sub.queue);
    if (sub.queue_id == 0) return;
    sub.window = 1 + random_.below(random_.below(2) == 0 ? 4 : 60);
    sub.no_ack = random_.below(6) == 0;
    sub.lease_ms = random_.below(2) == 0 ? 5000 : 1000 + random_.below(3000);
    SubscribeOptions options;
    options.window_messages = sub.window;
    options.window_bytes = random_.below(3) == 0 ? 200 : 1 << 20;
    options.no_ack = sub.no_ack;
    options.lease_ms = sub.lease_ms;
    options.some_at_a_time = random_.below(2) == 0;
    if (random_.below(2) == 0) options.member = "m" + std::to_string(random_.below(3));
    options.weight = 1 + random_.below(3);
    const SessionId session = some_session();
    const std::uint64_t id = next_request_;
    const std::string queue = sub.queue;
    subs_[{session, id}] = std::move(sub);
    engine_->subscribe(session, next_request_++, id, queue, options, now());
    after_call();
}

void EngineModel::pull() {
    const SessionId session = some_session();
    const std::string queue = some_queue();
    const QueueId queue_id = log_.id_of(queue);
    if (queue_id == 0) return;
    const std::uint64_t id = 1'000'000 + queue_id * 100 + session % 100;
    Sub& sub = subs_[{session, id}];
    if (sub.queue_id != 0 && sub.queue_id != queue_id) return;
    sub.queue = queue;
    sub.queue_id = queue_id;
    sub.pull = true;
    sub.lease_ms = 5000;
    engine_->pull(session, next_request_++, id, queue, 1 + random_.below(10),
                  random_.below(3) == 0 ? 100 : 1 << 20, false, now());
    after_call();
}

std::vector<Range<Tag>> EngineModel::some_tags(const Sub& sub) {
    std::vector<Range<Tag>> tags;
    const std::uint64_t style = random_.below(4);
    if (style == 0 && !sub.held.empty()) {
        tags.push_back({sub.held.begin()->first, sub.held.rbegin()->first});
    } else if (style == 1 && sub.next_tag > 1) {
        const Tag from = 1 + random_.below(sub.next_tag);
        tags.push_back({from, from + random_.below(5)});
    } else {
        for (const auto& [tag, held] : sub.held) {
            if (random_.below(3) != 0) continue;
            if (!tags.empty() && tags.back().last + 1 == tag) {
                tags.back().last = tag;
            } else {
                tags.push_back({tag, tag});
            }
        }
        if (style == 2) std::reverse(tags.begin(), tags.end());
    }
    return tags;
}

// What the engine has to say of these tags, in the order asked.
std::vector<EngineModel::MessageKey> EngineModel::take_tags(Sub& sub,
                                                            const std::vector<Range<Tag>>& tags,
                                                            std::vector<Range<Tag>>& lost) {
    std::vector<MessageKey> keys;
    for (const Range<Tag>& range : tags) {
        bool extends = false;
        for (Tag tag = range.first; tag <= range.last; ++tag) {
            const auto held = sub.held.find(tag);
            if (held != sub.held.end()) {
                keys.emplace_back(sub.queue_id, held->second.position);
                held_.erase(keys.back());
                sub.held.erase(held);
                extends = false;
            } else if (extends) {
                lost.back().last = tag;
            } else {
                lost.push_back({tag, tag});
                extends = true;
            }
        }
    }
    return keys;
}

void EngineModel::settle_some() {
    if (subs_.empty()) return;
    auto at = std::next(subs_.begin(), static_cast<std::ptrdiff_t>(random_.below(subs_.size())));
    const auto [session, id] = at->first;
    Sub& sub = at->second;
    const std::vector<Range<Tag>> tags = some_tags(sub);
    if (tags.empty()) return;
    const std::uint64_t what = random_.below(10);
    const std::uint64_t request = sub.no_ack && random_.below(2) == 0 ? 0 : next_request_++;
    if (what == 0) {
        const std::uint64_t lease_ms = 1000 + random_.below(9000);
        for (const Range<Tag>& range : tags) {
            for (Tag tag = range.first; tag <= range.last; ++tag) {
                const auto held = sub.held.find(tag);
                if (held != sub.held.end())
                    held->second.deadline_ns = now_.mono.ns + lease_ms * 1'000'000;
            }
        }
        engine_->extend(session, next_request_++, id, tags, lease_ms, now());
        after_call();
        return;
    }
    std::vector<Range<Tag>> lost;
    std::vector<MessageKey> keys = take_tags(sub, tags, lost);
    const bool requeue = what <= 2;
    // A rejected message of a queue with dead letters leaves it a little later.
    if (requeue || (what == 3 && has_dead_letters(sub.queue))) keys.clear();
    if (request != 0) settling_[request] = {std::move(keys), std::move(lost)};
    if (what <= 3) {
        std::optional<std::uint64_t> delay;
        if (requeue && random_.below(2) == 0) delay = random_.below(3) * 300;
        engine_->nack(session, request, id, tags, requeue, now(), delay);
    } else {
        engine_->ack(session, request, id, tags, now());
    }
    after_call();
}

void EngineModel::expire() {
    const std::uint64_t ms = random_.below(4000);
    now_.mono.ns += ms * 1'000'000;
    now_.wall_ms += ms;
    for (auto& [key, sub] : subs_) {
        for (auto held = sub.held.begin(); held != sub.held.end();) {
            if (held->second.deadline_ns > now_.mono.ns) {
                ++held;
                continue;
            }
            held_.erase({sub.queue_id, held->second.position});
            held = sub.held.erase(held);
        }
    }
    engine_->tick(now());
    after_call();
    check_queues(false);
    const auto next = engine_->next_timer();
    if (next && *next <= now().mono) problem("a timer that is due stays");
    if (!next && !held_.empty()) problem("leases without a timer");
}

void EngineModel::purge_or_delete() {
    const std::string name = some_queue();
    if (random_.below(3) != 0) {
        engine_->purge_queue(sessions_[0], next_request_++, name, now());
        after_call();
        return check_queues(true);
    }
    engine_->dispatch(now());  // so that every ack before it is in a record
    after_call();
    engine_->delete_queue(sessions_[0], next_request_++, name, false, false, now());
    after_call();
    check_queues(true);
    for (auto at = first_deliveries_.begin(); at != first_deliveries_.end();) {
        at = log_.queues.count(at->first.first) == 0 ? first_deliveries_.erase(at) : std::next(at);
    }
    declare_all();
}

void EngineModel::move_some() {
    if (random_.below(3) == 0) {
        engine_->cancel(sessions_[0], next_request_++, some_queue(),
                        "id" + std::to_string(random_.below(20)), now());
        return after_call();
    }
    const bool from_dead = random_.below(2) == 0;
    if (random_.below(6) == 0) {
        engine_->declare_queue(sessions_[0], next_request_++, "dead", {}, now());
        return after_call();
    }
    const std::string from = from_dead ? "dead" : some_queue();
    const std::string target = from_dead || random_.below(2) == 0 ? "" : some_queue();
    engine_->move_messages(sessions_[0], next_request_++, from, target, 0, 1 + random_.below(20),
                           random_.below(3) == 0, now());
    after_call();
}

// A policy may lend dead letters to any queue.
bool EngineModel::has_dead_letters(const std::string& queue) const {
    bool letters = queue == "q1" || queue == "q4";
    for (const PolicyView& view : engine_->policies("", 10))
        letters = letters || view.policy.settings.dead_letters();
    return letters;
}

void EngineModel::change_policy() {
    const std::string name = random_.below(2) == 0 ? "a" : "b";
    if (random_.below(3) == 0) {
        engine_->delete_policy(sessions_[0], next_request_++, name, now());
        return after_call();
    }
    NamedPolicy policy;
    policy.name = name;
    policy.pattern = random_.below(2) == 0 ? "q*" : "?0";
    policy.priority = static_cast<std::uint32_t>(random_.below(3));
    policy.settings.max_deliveries = static_cast<std::uint32_t>(3 + random_.below(4));
    if (random_.below(2) == 0) policy.settings.message_ttl_ms = 10'000 + random_.below(20'000);
    if (random_.below(2) == 0) policy.settings.dead_letter_key = "dead";
    if (random_.below(3) == 0) {
        policy.settings.retry = RetryKind::fixed;
        policy.settings.retry_delay_ms = 100;
    }
    engine_->set_policy(sessions_[0], next_request_++, policy, false, now());
    after_call();
}

void EngineModel::change_schedule() {
    const std::string name = random_.below(2) == 0 ? "s" : "t";
    const std::uint64_t dice = random_.below(6);
    if (dice == 0) {
        engine_->delete_schedule(sessions_[0], next_request_++, name, now());
    } else if (dice == 1) {
        engine_->pause_schedule(sessions_[0], next_request_++, name, random_.below(2) == 0,
                                now().wall_ms + 1 + random_.below(500), now());
    } else {
        Schedule schedule;
        schedule.name = name;
        // A new expression each time: the times that were settled do not count for it.
        schedule.cron = "every " + std::to_string(++next_request_);
        schedule.zone = "UTC";
        schedule.missed = dice == 2 ? Missed::skip : Missed::once;
        schedule.message = message(dice == 3 ? "amq.fanout" : "", some_queue(), "of a schedule");
        schedule.next_ms = now().wall_ms + 1 + random_.below(500);
        engine_->set_schedule(sessions_[0], next_request_++, schedule, false, now());
    }
    after_call();
}

// Sometimes the answer comes late, or not before a crash.
void EngineModel::answer_due() {
    if (due_.empty()) return;
    const ScheduleDue due = due_.front();
    due_.pop_front();
    const std::uint64_t fired = engine_->totals().scheduled;
    engine_->schedule_due(due.name, due.due_ms, due.after_ms + 1 + random_.below(2'000), now());
    scheduled += engine_->totals().scheduled - fired;
    after_call();
}

void EngineModel::step() {
    if (random_.below(4) == 0) answer_due();
    if (random_.below(12) == 0) change_prepared();
    if (random_.below(8) == 0) change_locks();
    const std::uint64_t dice = random_.below(100);
    if (dice < 30) return publish();
    if (dice < 46) return dispatch();
    if (dice < 50) return transact();
    if (dice < 62) return sync(random_.below(3) == 0);
    if (dice < 67) return subscribe();
    if (dice < 70) return pull();
    if (dice < 84) return settle_some();
    if (dice < 87) return expire();
    if (dice < 88) return purge_or_delete();
    if (dice < 89) return answer_body();
    if (dice < 90) {
        const std::uint64_t which = random_.below(3);
        return which == 0 ? move_some() : which == 1 ? change_policy() : change_schedule();
    }
    if (dice < 91) return answer_load(false);
    if (dice < 93) return checkpoint();
    if (dice < 95) return open_session();
    if (dice < 96) return close_session();
    if (dice < 97) return engine_->set_disk_full(random_.below(2) == 0);
    if (dice < 98) return crash();
    if (dice < 99 && random_.below(3) == 0) return restart_cleanly();
    dispatch();
}

// Consumes everything, to see that nothing hangs and nothing is left over.
void EngineModel::drain() {
    engine_->set_disk_full(false);
    for (const char* name : {"a", "b"})
        engine_->delete_policy(sessions_[0], next_request_++, name, now());
    for (const char* name : {"s", "t"})
        engine_->delete_schedule(sessions_[0], next_request_++, name, now());
    drop_all_prepared();
    end_locks();
    due_.clear();
    after_call();
    while (sessions_.size() > 1) close_session();
    open_session();
    std::swap(sessions_.front(), sessions_.back());
    close_session();
    engine_->declare_queue(sessions_[0], next_request_++, "dead", {}, now());
    after_call();
    queue_names_.push_back("dead");
    for (const std::string& name : queue_names_) {
        Sub sub;
        sub.queue = name;
        sub.queue_id = log_.id_of(name);
        sub.window = 50;
        sub.lease_ms = 5000;
        SubscribeOptions options;
        options.window_messages = sub.window;
        options.window_bytes = 1 << 20;
        const std::uint64_t id = next_request_++;
        const SessionId session = sessions_[0];
        subs_[{session, id}] = sub;
        engine_->subscribe(session, next_request_++, id, name, options, now());
    }
    for (int i = 0; i < 2000; ++i) {
        dispatch();
        sync(true);
        answer_load(true);
        answer_body();
        // What has no dead letters is given another chance by hand.
        for (const std::string& name : queue_names_) {
            engine_->move_messages(sessions_[0], next_request_++, name, "q0", 0, 1000, true, now());
        }
        after_call();
        expire();
        for (auto& [key, sub] : subs_) {
            if (sub.held.empty()) continue;
            const std::vector<Range<Tag>> tags{{sub.held.begin()->first, sub.held.rbegin()->first}};
            std::vector<Range<Tag>> lost;
            take_tags(sub, tags, lost);
            engine_->ack(key.first, 0, key.second, tags, now());
        }
        std::size_t left = 0;
        for (const auto& [id, queue] : log_.queues) left += queue.waiting.size();
        if (left == 0) break;
    }
    dispatch();
    sync(true);
    const Totals totals = engine_->totals();
    if (totals.ready != 0 || totals.unacked != 0) problem("messages were never delivered");
    if (totals.extents_in_memory != 0) problem("extents are left over");
    std::uint64_t references = 0;
    for (const SegmentLoad& load : engine_->segment_loads()) references += load.references;
    if (references != 0 || totals.live_bytes != 0) problem("references are left over");
    if (!unanswered_.empty()) problem("a publish was never answered");
    if (!settling_.empty()) problem("an ack was never answered");
    if (!transacting_.empty()) problem("a transaction was never answered");
    if (!deciding_.empty()) problem("a prepared message's producer was never answered");
    if (!locking_.empty()) problem("who asked for a lock was never answered");
    if (totals.locks != 0) problem("locks are left over");
    if (totals.prepared != 0 || totals.prepared_bytes != 0) problem("prepared bytes are left over");
}

void EngineModel::run(int steps) {
    for (step_ = 0; step_ < steps && problems.empty(); ++step_) step();
    blocks = log_.index_blocks;
    if (problems.empty()) drain();
}

}  // namespace ferry::engine::testing
