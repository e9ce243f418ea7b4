#include "engine_model.hpp"

#include "key_gate.hpp"

namespace ferry::engine::testing {
namespace {

std::uint64_t hash_of(Bytes bytes) {
    std::uint64_t h = 14695981039346656037ULL;
    for (const std::byte b : bytes) h = (h ^ static_cast<std::uint64_t>(b)) * 1099511628211ULL;
    return h;
}

}  // namespace

EngineModel::EngineModel(std::uint64_t seed) : random_(seed), journal_(4096 + seed % 7 * 8192) {
    const std::uint64_t extents[] = {64, 200, 1U << 20};
    settings_.extents_in_memory_max = extents[random_.below(3)];
    settings_.lease_ms_default = 5000;
    start_engine();
    engine_->recovered(false, now());
    after_call();
    sync(true);
    open_session();
    declare_all();
}

void EngineModel::start_engine() {
    effects_.clear();
    engine_ = std::make_unique<Engine>(journal_, effects_, settings_);
}

QueueOptions EngineModel::options_of(const std::string& name) {
    QueueOptions options;
    QueuePolicy& policy = options.policy;
    if (name == "q1") {
        policy.retry = RetryKind::exponential;
        policy.retry_delay_ms = 200;
        policy.retry_delay_max_ms = 2000;
        policy.retry_jitter_percent = 50;
        policy.max_deliveries = 4;
        policy.dead_letter_key = "dead";
    } else if (name == "q4") {
        options.ordered = true;
        policy.retry = RetryKind::fixed;
        policy.retry_delay_ms = 700;
        policy.retry_jitter_percent = 50;
        policy.max_deliveries = 5;
        policy.dead_letter_key = "dead";
    } else if (name == "q2") {
        policy.max_deliveries = 6;
        policy.message_ttl_ms = 20'000;
        policy.max_messages = 150;
        policy.overflow = Overflow::reject_publish;
    } else if (name == "q5") {
        options.durable = false;
    } else if (name == "q3") {
        policy.priorities = true;
        policy.dedupe_window_ms = LogReader::dedupe_window_ms;
        policy.max_messages = 60;
    }
    return options;
}

void EngineModel::declare_all() {
    for (const std::string& name : queue_names_) {
        if (engine_->queue(name, now())) continue;
        engine_->declare_queue(sessions_[0], next_request_++, name, options_of(name), now());
        engine_->bind(sessions_[0], next_request_++, {"amq.fanout", name, false, "", {}});
    }
    after_call();
}

// Reads what the engine wrote and said.
void EngineModel::after_call() {
    for (; read_upto_ < journal_.records().size(); ++read_upto_) {
        const auto& record = journal_.records()[read_upto_];
        log_.read(record);
        log_locks_.read(record);
        mix(record.place.position);
        mix(hash_of(record.body));
        const auto type = static_cast<RecordType>(record.body[0]);
        // The same where a crash takes back that messages were dropped without having been
        // delivered.
        std::vector<QueueSpans> gone;
        if (type == RecordType::ack && decode_ack(record.body, gone)) {
            for (const QueueSpans& group : gone) {
                for (const Span& span : group.spans) {
                    for (Position p = span.first; p < span.first + span.count; ++p)
                        went_back_.insert({group.queue, p});
                }
            }
        }
        if (type != RecordType::leave && type != RecordType::transaction &&
            type != RecordType::prepared_submit) {
            continue;
        }
        // A crash may take the move back after later messages were delivered.
        for (const auto& [id, queue] : log_.queues) {
            for (const Position p : queue.leaving) went_back_.insert({id, p});
            for (const auto& [due, p] : queue.scheduled) went_back_.insert({id, p});
        }
    }
    for (std::string& text : log_.problems) problem(std::move(text));
    log_.problems.clear();
    Effects effects;
    effects.swap(effects_);
    for (const Effect& effect : effects) {
        mix(effect.index());
        std::visit(
            [this](const auto& e) {
                using T = std::decay_t<decltype(e)>;
                if constexpr (std::is_same_v<T, LoadIndex>) {
                    if (e.record >= durable_) problem("asks for a block that is not durable");
                    loads_.push_back(e);
                    ++loads;
                } else if constexpr (std::is_same_v<T, LoadBody>) {
                    if (e.record >= durable_) problem("asks for a record that is not durable");
                    bodies_.push_back(e);
                } else if constexpr (std::is_same_v<T, CloseSession>) {
                    problem("closes a session: " + e.text);
                } else {
                    on(e);
                }
            },
            effect);
    }
    effects.clear();
    if (effects_.empty()) effects_.swap(effects);  // keeps the capacity, as a driver would
}

// One message of a key at a time, and none before an earlier one that was out is settled.
void EngineModel::check_key(const Sub& sub, const MessageKey& message, KeyNumber key) {
    keys_[message] = key;
    const auto& queue = log_.queues[sub.queue_id];
    const bool on_time = went_back_.count(message) == 0;
    auto at = keys_.lower_bound({sub.queue_id, 0});
    for (; key != 0 && at != keys_.end() && at->first.first == sub.queue_id; ++at) {
        const auto& [other, other_key] = *at;
        if (other_key != key || other == message) continue;
        if (held_.count(other) != 0)
            problem("two messages of a key are out: " + std::to_string(other.second) + " and " +
                    std::to_string(message.second));
        const bool before = other.second < message.second && on_time;
        if (before && queue.waiting.count(other.second) != 0 && went_back_.count(other) == 0)
            problem("message " + std::to_string(message.second) + " passed " +
                    std::to_string(other.second) + " of its key");
    }
}

void EngineModel::on(const Deliver& d) {
    if (!d.more.empty()) {
        Deliver one = d;
        one.more.clear();
        on(one);
        for (const Extent& extent : d.more) {
            one.first_tag += one.extent.count;
            one.extent = extent;
            one.token = extent.first;
            on(one);
        }
        return;
    }
    const auto found = subs_.find({d.session, d.subscription});
    if (found == subs_.end()) return problem("delivers to nobody");
    Sub& sub = found->second;
    if (d.extent.record() >= durable_ && sub.queue != "q5") problem("delivers what is not durable");
    if (d.first_tag != sub.next_tag) problem("tags have a gap");
    std::vector<std::byte> scratch;
    const Result<Bytes> bytes =
        message_bytes(journal_.body_at(d.extent.record()), d.extent, 0, d.extent.count, scratch);
    if (!bytes.ok()) return problem("a delivered message has no bytes");
    std::vector<std::byte> more_scratch;
    const Result<Bytes> again = message_bytes(journal_.body_at(d.extent.record()), d.extent, 0,
                                              d.extent.count, more_scratch, &offsets_);
    if (!again.ok() || as_text(again.value()) != as_text(bytes.value()))
        problem("remembered offsets give other bytes");
    wire::Cursor cursor(bytes.value());
    auto& waiting = log_.queues[sub.queue_id].waiting;
    for (std::uint32_t i = 0; i < d.extent.count; ++i) {
        const MessageKey key{sub.queue_id, d.extent.first + i};
        mix(key.second * 31 + d.attempt);
        const auto message = waiting.find(key.second);
        wire::MessageView view;
        if (!wire::read_message(cursor, view)) return problem("delivered bytes are malformed");
        if (message == waiting.end()) return problem("delivers what was settled or never stored");
        wire::Properties properties;
        const std::uint8_t priority =
            wire::read_properties(view.properties, properties) ? properties.priority : 0;
        if (d.extent.level != (sub.queue == "q3" ? priority : 0))
            problem("a message is in the wrong level");
        if (message->second != as_text(view.payload)) problem("delivers another message's bytes");
        if (!held_.insert(key).second) problem("two leases for one message");
        const bool ordered = sub.queue == "q4";
        const KeyNumber number =
            ordered ? KeyGate::number_of(wire::ordering_key_of(view.properties)) : 0;
        if (ordered) check_key(sub, key, number);
        Seen& seen = seen_[key];
        if (seen.attempt == 0) {
            Position& last = first_deliveries_[{sub.queue_id, ordered ? number : d.extent.level}];
            const bool on_time = went_back_.count(key) == 0;
            if (key.second <= last && on_time)
                problem("first deliveries of " + sub.queue + " are out of order");
            if (on_time) last = std::max(last, key.second);
            if (d.attempt > 1 && excused_.count(key) == 0)
                problem("marked as redelivered too soon");
        } else if (d.attempt < 2 || (d.attempt <= seen.attempt && excused_.count(key) == 0)) {
            problem("attempts do not grow");
        }
        if (d.token <= seen.token) problem("tokens do not grow");
        seen = {d.attempt, d.token};
        sub.held[sub.next_tag++] = {key.second, now_.mono.ns + sub.lease_ms * 1'000'000};
        ++delivered;
    }
    if (!cursor.at_end()) problem("more bytes than messages");
    if (!sub.pull && sub.held.size() > sub.window) problem("more in flight than the window");
}

void EngineModel::on(const Confirm& c) {
    for (Sequence s = c.sequences.first; s <= c.sequences.last; ++s) {
        mix(s);
        const auto asked = unanswered_.find({c.session, c.producer, s});
        if (asked == unanswered_.end()) continue;  // of a session that is gone
        if (--asked->second == 0) unanswered_.erase(asked);
        for (const auto& [key, client] : clients_) {
            if (key.first != c.session || client.handle != c.producer) continue;
            const LogReader::Producer* p = log_.producer(key.second);
            if (p == nullptr || p->epoch != client.epoch) continue;
            if (s <= given_up_[{key.second, client.epoch}]) continue;
            const auto taken = p->taken.find(s);
            if (taken == p->taken.end()) {
                problem("confirms what was not taken");
            } else if (taken->second >= durable_) {
                problem("confirms what is not durable");
            }
        }
    }
}

void EngineModel::on(const Refuse& r) {
    for (Sequence s = r.sequences.first; s <= r.sequences.last; ++s) {
        mix(s + static_cast<std::uint64_t>(r.code));
        const auto asked = unanswered_.find({r.session, r.producer, s});
        if (asked != unanswered_.end() && --asked->second == 0) unanswered_.erase(asked);
    }
}

void EngineModel::on(const Settled& s) {
    const auto found = settling_.find(s.request);
    if (found == settling_.end()) return;
    const auto& [keys, lost] = found->second;
    if (lost != s.lost) problem("lost tags are not those that were gone");
    for (const MessageKey& key : keys) {
        const auto removed = log_.removed_at.find(key);
        if (removed == log_.removed_at.end()) {
            problem("settled without a record");
        } else if (removed->second >= durable_) {
            problem("settled before it is durable");
        }
    }
    settling_.erase(found);
}

void EngineModel::on(const Reply& r) {
    mix(r.request);
    on_transaction(r);
    on_prepared(r);
    on_lock(r);
    const auto opening = opening_.find(r.request);
    if (opening == opening_.end()) return;
    if (const auto* answer = std::get_if<ProducerAnswer>(&r.answer)) {
        const Opening& asked = opening->second;
        clients_[{asked.session, asked.name}] = {answer->handle, answer->epoch};
        if (answer->epoch != asked.epoch) problem("a producer's epoch is not the one in the log");
        if (answer->mark < asked.mark) problem("a producer's mark is lower than the log says");
    }
    opening_.erase(opening);
}

void EngineModel::on(const Cancelled& c) {
    const auto found = subs_.find({c.session, c.subscription});
    if (found == subs_.end()) return;
    for (const auto& [tag, held] : found->second.held)
        held_.erase({found->second.queue_id, held.position});
    subs_.erase(found);
}

// `flushed`: every ack so far is in a record.
void EngineModel::check_queues(bool flushed) {
    std::map<QueueId, std::uint64_t> in_flight;
    for (const auto& [key, sub] : subs_) in_flight[sub.queue_id] += sub.held.size();
    std::uint64_t all = 0;
    for (const auto& [id, queue] : log_.queues) {
        const auto view = engine_->queue(queue.name, now());
        if (!view) {
            problem("a queue is missing");
            continue;
        }
        if (view->unacked != in_flight[id]) problem("unacked is not what clients hold");
        const std::uint64_t has = view->ready + view->unacked + view->delayed + view->leaving;
        std::uint64_t later = 0;
        for (const auto& [key, count] : queue.delayed) later += count;
        later += queue.scheduled.size();
        if (view->delayed != later) problem("delayed messages are not those of the log");
        if (view->leaving != queue.leaving.size()) problem("leaving is not what the log says");
        delayed += later;
        dead += queue.name == "dead" ? 1 : 0;
        all += has;
        if (has > queue.waiting.size() || (flushed && has != queue.waiting.size())) {
            problem(queue.name + " holds " + std::to_string(has) + " messages, its log " +
                    std::to_string(queue.waiting.size()));
        }
    }
    check_prepared();
    check_locks();
    std::uint64_t references = 0;
    for (const SegmentLoad& load : engine_->segment_loads()) references += load.references;
    if (references < all) problem("live messages are not counted as references");
}

void EngineModel::dispatch() {
    engine_->dispatch(now());
    after_call();
    check_queues(true);
}

void EngineModel::sync(bool all) {
    Position upto = journal_.end();
    if (!all && !journal_.records().empty()) {
        const std::size_t from = journal_.records().size();
        const std::size_t back = random_.below(std::min<std::size_t>(from, 12) + 1);
        if (back > 0) upto = journal_.records()[from - back].place.position;
    }
    if (upto < durable_) return;
    durable_ = upto;
    if (all || random_.below(4) == 0) journal_.end_batch();
    engine_->durable(durable_);
    after_call();
}

void EngineModel::crash() {
    ++crashes;
    journal_.lose_from(durable_);
    log_ = LogReader{};
    log_locks_ = LogLocks{};
    read_upto_ = 0;
    for (const auto& record : journal_.records()) {
        log_.read(record);
        log_locks_.read(record);
    }
    read_upto_ = journal_.records().size();
    std::erase_if(checkpoints_, [&](const Checkpoint& c) { return c.at > durable_; });
    start_engine();
    Position from = 0;
    // Mostly the newest is used, sometimes an older one or none, as when it cannot be read; what
    // cannot be read once cannot be read later.
    while (!checkpoints_.empty() && random_.below(4) == 0) checkpoints_.pop_back();
    if (!checkpoints_.empty()) {
        if (!engine_->load(checkpoints_.back().state).ok()) problem("a checkpoint is refused");
        from = checkpoints_.back().at;
    }
    for (const auto& record : journal_.records()) {
        if (record.place.position < from) continue;
        const Status status = engine_->replay(record.place, record.body);
        if (!status.ok()) return problem("replay: " + std::string(status.error().what));
    }
    sessions_.clear();
    subs_.clear();
    clients_.clear();
    opening_.clear();
    unanswered_.clear();
    settling_.clear();
    transacting_.clear();
    deciding_.clear();
    locking_.clear();
    held_.clear();
    loads_.clear();
    bodies_.clear();
    due_.clear();
    for (const auto& [id, queue] : log_.queues) {
        for (const auto& [position, payload] : queue.waiting) excused_.insert({id, position});
    }
    now_.mono.ns += 1;
    engine_->recovered(true, now());
    engine_->durable(durable_);
    if (random_.below(2) == 0) engine_->plan_schedules(now());
    after_call();
    check_queues(true);
    if (engine_->totals().unacked != 0) problem("something is unacked after a crash");
    open_session();
    declare_all();
}

void EngineModel::restart_cleanly() {
    engine_->return_all(now());
    for (auto& [key, sub] : subs_) sub.held.clear();
    held_.clear();
    after_call();
    check_queues(true);
    checkpoints_.clear();
    Checkpoint clean{{}, journal_.end()};
    engine_->save(clean.state, true);
    sync(true);
    start_engine();
    if (!engine_->load(clean.state).ok()) problem("a clean checkpoint is refused");
    checkpoints_.push_back(std::move(clean));
    sessions_.clear();
    subs_.clear();
    clients_.clear();
    opening_.clear();
    unanswered_.clear();
    settling_.clear();
    transacting_.clear();
    deciding_.clear();
    locking_.clear();
    loads_.clear();
    bodies_.clear();
    due_.clear();
    engine_->recovered(false, now());
    engine_->durable(durable_);
    after_call();
    check_queues(true);
    open_session();
    declare_all();
}

void EngineModel::checkpoint() {
    dispatch();
    Checkpoint c{{}, journal_.end()};
    engine_->save(c.state, false);
    mix(hash_of(c.state));
    // Loading compares the space table with every extent and block of every queue.
    MemoryJournal nowhere;
    Effects none;
    Engine copy(nowhere, none, settings_);
    const Status status = copy.load(c.state);
    if (!status.ok()) problem("a checkpoint is refused: " + std::string(status.error().what));
    checkpoints_.push_back(std::move(c));
    if (checkpoints_.size() > 4) checkpoints_.erase(checkpoints_.begin());
}

void EngineModel::answer_body() {
    while (!bodies_.empty()) {
        const LoadBody load = bodies_.front();
        bodies_.pop_front();
        const Bytes found = journal_.body_at(load.record);
        const std::vector<std::byte> body(found.begin(), found.end());
        engine_->body_loaded(load.queue, load.record, body, now());
        after_call();
    }
}

void EngineModel::answer_load(bool all) {
    while (!loads_.empty()) {
        const LoadIndex load = loads_.front();
        loads_.pop_front();
        engine_->index_loaded(load.queue, load.record, journal_.body_at(load.record));
        after_call();
        if (!all) return;
    }
}

}  // namespace ferry::engine::testing
