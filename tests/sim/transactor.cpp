#include "transactor.hpp"

#include <algorithm>

namespace ferry::simulation {

using history::Event;
using history::Type;
using history::What;

namespace {

constexpr std::uint64_t refused_wait_ns = 200 * ms;
constexpr std::uint64_t answer_ns = 30 * ms;

}  // namespace

void note_parts(Recorder& recorder, const World& world, std::uint32_t process,
                const Exchange& exchange, Type type) {
    for (Event event : exchange.settles) {
        event.type = type;
        event.group = exchange.group;
        recorder.add(event);
    }
    for (const auto* notes : {&exchange.results, &exchange.fresh}) {
        for (const Note& note : *notes) {
            Event event;
            event.process = process;
            event.type = type;
            event.what = What::publish;
            event.queue = note.queue;
            event.id = note.id;
            event.payload = note.payload;
            event.group = exchange.group;
            if (type == Type::invoke || type == Type::ok) set_life(event, note, world.now_ns());
            recorder.add(event);
        }
    }
}

const Note& result_of(Stage& stage, Results& results, std::uint64_t id) {
    const auto [at, fresh] = results.try_emplace(id);
    Note& note = at->second;
    if (fresh) {
        note.id = stage.recorder.new_id();
        note.queue = stage.swarm.result_queue();
        note.payload = hash_of(payload_of(note.id, 20));
    }
    return note;
}

Note fresh_message(Stage& stage) {
    Note note;
    note.id = stage.recorder.new_id();
    note.queue = 1 + static_cast<std::uint32_t>(stage.world.below(stage.swarm.queues));
    note.life_ns = stage.swarm.life_ns(note.queue);
    note.payload = hash_of(payload_of(note.id, 20));
    return note;
}

/// Hears how a transaction ended when the broker says so, whether its client does or not.
class Transactor::TransactionTap final : public DeliverTap {
public:
    TransactionTap(Transactor& owner, Recorder& recorder, std::uint32_t process,
                   std::uint32_t queue)
        : DeliverTap(recorder, process, queue), owner_(owner) {}

    std::shared_ptr<Exchange> under_way;

private:
    void said_other(const wire::FrameHead& head, wire::Cursor&) override {
        const bool done = head.verb == wire::Verb::ok;
        if (!done && head.verb != wire::Verb::error) return;
        if (under_way == nullptr || head.request != under_way->request) return;
        under_way->told = done ? Exchange::Fate::done : Exchange::Fate::refused;
        if (done) {
            for (const std::uint64_t tag : under_way->tags) over(tag);
        }
        owner_.note(under_way, done ? Type::ok : Type::fail);
        under_way.reset();
    }
    Transactor& owner_;
};

Transactor::Transactor(Stage& stage, std::uint32_t process, std::uint32_t queue, Results& results)
    : Consumer(stage, process, queue), results_(results), own_left_(stage.swarm.messages / 2) {}

std::shared_ptr<DeliverTap> Transactor::make_deliver_tap() {
    tap_ = std::make_shared<TransactionTap>(*this, stage_.recorder, process_, queue_);
    return tap_;
}

void Transactor::set_up() {
    for (std::uint32_t queue = 1; queue <= stage_.swarm.queues; ++queue) declare(queue);
    declare(stage_.swarm.result_queue());
    if (stage_.swarm.has(Feature::dead_letters)) declare(stage_.swarm.dead_queue());
    open_producer();
}

void Transactor::open_producer() {
    producer_request_ = next_request();
    // After a kill it knows nothing of what it sent: another name, or an old frame takes its place.
    const std::string name =
        "transactor-" + std::to_string(process_) + "-" + std::to_string(life_number_);
    ask(wire::Verb::producer, producer_request_, 2, [&](wire::Encoder& e) { e.str(name).map(0); });
}

void Transactor::opened(wire::Cursor& cursor) {
    std::uint64_t mark = 0;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> open;
    each_entry(cursor, [&](std::string_view key, wire::Cursor& at) {
        if (key == "producer") return at.read_uint(handle_);
        if (key == "mark") return at.read_uint(mark);
        if (key != "open") return false;
        open = read_ranges(at);
        return true;
    });
    world_.trace("transactor opened", process_, mark);
    if (pending_ != nullptr && pending_->seq > mark) {
        // It was not seen, but may still come over the old connection: not once it is held.
        hold_request_ = next_request();
        const std::uint64_t seq = pending_->seq;
        return ask(wire::Verb::hold, hold_request_, 2,
                   [&](wire::Encoder& e) { e.uint(handle_).array(2).uint(mark + 1).uint(seq); });
    }
    if (pending_ != nullptr) {
        const bool is_open = std::any_of(open.begin(), open.end(), [&](const auto& range) {
            return range.first <= pending_->seq && pending_->seq <= range.second;
        });
        ended(!is_open);
    }
    next_seq_ = mark + 1;
    subscribe();
}

void Transactor::handle(const Received& message) {
    inputs_[message.tag] = id_in(message.payload);
    plan();
}

void Transactor::plan(std::uint64_t least_ns) {
    if (planned_) return;
    planned_ = true;
    std::uint64_t wait = least_ns + world_.below(stage_.swarm.think_ns_max);
    // Too long for its leases, sometimes.
    if (!stage_.healed && world_.chance(40)) wait += world_.below(2 * stage_.swarm.lease_ms) * ms;
    later_here(wait, [this] {
        planned_ = false;
        commit();
    });
}

void Transactor::fill(Exchange& exchange) {
    // What is not there yet because its transaction did not happen comes with nothing that may
    // refuse it again.
    if (!waiting_.empty()) {
        exchange.fresh.swap(waiting_);
        return;
    }
    while (!inputs_.empty() && exchange.tags.size() < stage_.swarm.transaction_max) {
        const auto [tag, id] = *inputs_.begin();
        inputs_.erase(inputs_.begin());
        if (!holds(tag)) continue;
        const bool reject = stage_.swarm.buries(queue_) && world_.chance(100);
        exchange.tags.push_back(tag);
        exchange.settles.push_back(tap_->lease(tag));
        exchange.settles.back().what = reject ? What::reject : What::ack;
        if (!reject) exchange.results.push_back(result_of(stage_, results_, id));
    }
    if (!stage_.healed && own_left_ > 0 && world_.chance(400)) {
        --own_left_;
        exchange.fresh.push_back(fresh_message(stage_));
    }
}

void Transactor::commit() {
    if (phase_ != Phase::ready || pending_ != nullptr) return;
    auto exchange = std::make_shared<Exchange>();
    fill(*exchange);
    if (exchange->tags.empty() && exchange->fresh.empty()) return;
    exchange->group = stage_.recorder.new_group();
    exchange->seq = next_seq_++;
    exchange->request = next_request();
    pending_ = exchange;
    tap_->under_way = exchange;
    note_parts(stage_.recorder, world_, process_, *exchange, Type::invoke);
    world_.trace("transaction", process_, exchange->seq, exchange->tags.size());
    send(*exchange);
    // Just then its answer is on the way.
    if (stage_.swarm.has(Fault::cut) && world_.chance(50)) {
        later_here(world_.below(answer_ns), [this] { hang_up(); });
    } else if (stage_.swarm.has(Fault::client_kill) && world_.chance(30)) {
        later_here(world_.below(answer_ns), [this] { kill(world_.spread(ms, second)); });
    }
}

void Transactor::send(const Exchange& exchange) {
    ask(wire::Verb::transaction, exchange.request, 6, [&](wire::Encoder& e) {
        e.uint(handle_).uint(exchange.seq).uint(1).uint(exchange.seq - 1);
        e.array(static_cast<std::uint32_t>(exchange.tags.size()));
        for (std::size_t i = 0; i < exchange.tags.size(); ++i) {
            e.array(3).uint(subscription).array(2).uint(exchange.tags[i]).uint(exchange.tags[i]);
            e.boolean(exchange.settles[i].what == What::reject);
        }
        e.array(static_cast<std::uint32_t>(exchange.results.size() + exchange.fresh.size()));
        for (const auto* notes : {&exchange.results, &exchange.fresh}) {
            for (const Note& note : *notes) {
                wire::Message out;
                const std::string payload = payload_of(note.id, 20);
                out.routing_key = queue_name(note.queue);
                out.payload = payload;
                out.properties.id = "p" + std::to_string(note.id);
                wire::write_message(e, out);
            }
        }
    });
}

void Transactor::on_answer(const wire::FrameHead& head, wire::Cursor& cursor) {
    const bool ok = head.verb == wire::Verb::ok;
    if (!ok && head.verb != wire::Verb::error) return;
    if (head.request == hold_request_ && hold_request_ != 0) {
        hold_request_ = 0;
        return ok ? open_producer() : hang_up();
    }
    if (head.request == producer_request_ && producer_request_ != 0) {
        producer_request_ = 0;
        return ok ? opened(cursor) : hang_up();
    }
    if (pending_ == nullptr || head.request != pending_->request) return;
    if (ok) {
        bool duplicate = false;
        each_entry(cursor, [&](std::string_view key, wire::Cursor& at) {
            return key == "duplicate" && at.read_bool(duplicate);
        });
        if (duplicate) world_.fail("a transaction that was sent once was called a duplicate");
    }
    ended(ok);
    if (!inputs_.empty() || !waiting_.empty()) plan(ok ? 0 : refused_wait_ns);
}

// What the client was told, by an answer or when it asked, and what the broker told: one and the
// same.
void Transactor::ended(bool done) {
    const std::shared_ptr<Exchange> exchange = std::move(pending_);
    pending_.reset();
    const auto fate = done ? Exchange::Fate::done : Exchange::Fate::refused;
    world_.trace(done ? "transaction is done" : "transaction is refused", process_, exchange->seq);
    if (exchange->told != Exchange::Fate::unknown && exchange->told != fate)
        world_.fail("a client was told otherwise of a transaction when it asked again");
    note(exchange, done ? Type::ok : Type::fail);
    for (const std::uint64_t tag : exchange->tags) {
        if (done) {
            drop(tag);
        } else if (holds(tag)) {
            answer(tag, Answer::give_back, refused_wait_ns / ms);
        }
    }
    if (!done) waiting_ = exchange->fresh;
}

void Transactor::note(const std::shared_ptr<Exchange>& exchange, Type type) {
    if (exchange->noted) return;
    exchange->noted = true;
    note_parts(stage_.recorder, world_, process_, *exchange, type);
}

void Transactor::on_lost() {
    inputs_.clear();
    planned_ = false;
    producer_request_ = hold_request_ = 0;
    Consumer::on_lost();
}

void Transactor::on_killed() {
    if (pending_ != nullptr) note(pending_, Type::info);
    pending_.reset();
    waiting_.clear();
    ++life_number_;
    on_lost();
}

}  // namespace ferry::simulation
