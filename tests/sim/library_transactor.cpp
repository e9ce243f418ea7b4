#include "library_transactor.hpp"

#include <algorithm>

namespace ferry::simulation {

using history::Type;
using history::What;
using Fate = Exchange::Fate;

namespace {

constexpr std::size_t under_way_max = 4;
constexpr std::uint64_t least_wait_ns = 5 * ms;

std::vector<std::uint64_t> ids_of(const Exchange& exchange) {
    std::vector<std::uint64_t> ids;
    for (const auto* notes : {&exchange.results, &exchange.fresh}) {
        for (const Note& note : *notes) ids.push_back(note.id);
    }
    return ids;
}

}  // namespace

LibraryTransactor::LibraryTransactor(Stage& stage, std::uint32_t process, std::uint32_t queue,
                                     Results& results)
    : LibraryConsumer(stage, process, queue),
      results_(results),
      own_left_(stage.swarm.messages / 2) {}

void LibraryTransactor::begun() {
    for (std::uint32_t queue = 1; queue <= stage_.swarm.queues; ++queue) declare(queue);
    declare(stage_.swarm.result_queue());
    if (stage_.swarm.has(Feature::dead_letters)) declare(stage_.swarm.dead_queue());
    LibraryConsumer::begun();
    plan();
}

void LibraryTransactor::handle(const Held& message) {
    inputs_.push_back(message);
    plan();
}

void LibraryTransactor::plan() {
    if (planned_) return;
    planned_ = true;
    std::uint64_t wait = world_.below(stage_.swarm.think_ns_max) + least_wait_ns;
    // Too long for its leases, sometimes.
    if (!stage_.healed && world_.chance(40)) wait += world_.below(2 * stage_.swarm.lease_ms) * ms;
    later(wait, [this] {
        planned_ = false;
        commit();
    });
}

// What is not there yet because its transaction did not happen comes with nothing that may refuse
// it again.
LibraryTransactor::DealRef LibraryTransactor::gather() {
    auto deal = std::make_shared<Deal>();
    Exchange& exchange = deal->exchange;
    if (!waiting_.empty()) {
        exchange.fresh.swap(waiting_);
        return deal;
    }
    while (!inputs_.empty() && deal->inputs.size() < stage_.swarm.transaction_max) {
        const Held input = inputs_.front();
        inputs_.erase(inputs_.begin());
        if (!holds(input.tag)) continue;
        const bool reject = stage_.swarm.buries(queue_) && world_.chance(100);
        deal->inputs.push_back(input);
        deal->tags.emplace_back(tag_of(input.tag.subscription, input.tag.tag), reject);
        if (!reject) exchange.results.push_back(result_of(stage_, results_, input.id));
    }
    if (!stage_.healed && own_left_ > 0 && world_.chance(400)) {
        --own_left_;
        exchange.fresh.push_back(fresh_message(stage_));
    }
    return deal;
}

void LibraryTransactor::add(transport::Transaction& transaction, Deal& deal) {
    for (std::size_t i = 0; i < deal.inputs.size(); ++i) {
        const transport::DeliveryTag& tag = deal.inputs[i].tag;
        const Status taken = deal.tags[i].second ? transaction.reject(tag) : transaction.ack(tag);
        if (!taken.ok()) wrong("does not take a delivery into a transaction");
    }
    std::sort(deal.tags.begin(), deal.tags.end());
    for (const auto* notes : {&deal.exchange.results, &deal.exchange.fresh}) {
        for (const Note& note : *notes) {
            transport::Message out;
            out.routing_key = queue_name(note.queue);
            out.payload = payload_of(note.id, 20);
            out.properties.id = "p" + std::to_string(note.id);
            if (!transaction.publish(out).ok()) wrong("does not take a message");
        }
    }
}

void LibraryTransactor::commit() {
    // What a frame may hold it knows from its first connection on.
    const bool more = under_way_.size() < under_way_max && core()->frame_bytes_max() != 0;
    const DealRef deal = more ? gather() : std::make_shared<Deal>();
    if (!deal->inputs.empty() || !deal->exchange.fresh.empty()) {
        transport::Transaction transaction = client().transaction();
        add(transaction, *deal);
        under_way_.push_back(deal);
        world_.trace("library commits", process_, deal->inputs.size(), deal->exchange.fresh.size());
        const Status taken = transaction.commit_async(
            [this, deal](const transport::Answer<transport::Committed>& outcome) {
                ended(deal, outcome);
            });
        if (!taken.ok()) wrong("does not take a transaction");
    }
    if (!inputs_.empty() || !waiting_.empty()) plan();
}

// ---- what the library says to the broker, and the broker to it ----

void LibraryTransactor::sent(LibraryTap& tap, const WireTransaction& what) {
    std::vector<std::pair<std::uint64_t, bool>> tags = what.tags;
    std::sort(tags.begin(), tags.end());
    const auto at = std::find_if(under_way_.begin(), under_way_.end(), [&](const DealRef& deal) {
        return deal->tags == tags && ids_of(deal->exchange) == what.ids;
    });
    if (at == under_way_.end()) return wrong("sends a transaction that nobody asked for");
    Deal& deal = **at;
    // Sent again, so the broker has said that the first one never happened.
    if (deal.sent) note(deal, Type::fail);
    deal.sent = true;
    Exchange& exchange = deal.exchange;
    exchange.group = stage_.recorder.new_group();
    exchange.seq = what.seq;
    exchange.noted = false;
    exchange.told = Fate::unknown;
    exchange.settles.clear();
    exchange.tags.clear();
    for (const auto& [tag, reject] : tags) {
        if (!tap.knows(tag)) return wrong("settles in a transaction what was never delivered");
        exchange.tags.push_back(tag);
        exchange.settles.push_back(tap.lease(tag));
        exchange.settles.back().what = reject ? What::reject : What::ack;
    }
    by_sequence_[{tap.life(), what.seq}] = *at;
    note_parts(stage_.recorder, world_, process_, exchange, Type::invoke);
}

void LibraryTransactor::note(Deal& deal, Type type) {
    if (!deal.sent || deal.exchange.noted) return;
    deal.exchange.noted = true;
    note_parts(stage_.recorder, world_, process_, deal.exchange, type);
}

void LibraryTransactor::transaction_told(LibraryTap& tap, std::uint64_t seq, bool done) {
    const auto at = by_sequence_.find({tap.life(), seq});
    if (at == by_sequence_.end() || at->second->exchange.seq != seq) return;
    Deal& deal = *at->second;
    if (deal.committed && !done) wrong("called a transaction done that the broker refuses");
    deal.exchange.told = done ? Fate::done : Fate::refused;
    if (done) tap.over(deal.exchange.tags);
    note(deal, done ? Type::ok : Type::fail);
}

// ---- what the library says to the application ----

void LibraryTransactor::ended(const DealRef& deal,
                              const transport::Answer<transport::Committed>& outcome) {
    if (!lives()) return;
    std::erase(under_way_, deal);
    world_.trace(outcome.ok() ? "library committed" : "library did not commit", process_,
                 deal->exchange.seq);
    if (!outcome.ok()) return refused(deal, outcome.error());
    if (!deal->sent) return wrong("calls a transaction done that it never sent");
    const Fate told = deal->exchange.told;
    if (told == Fate::refused) return wrong("calls a transaction done that the broker refused");
    if (told == Fate::unknown && !outcome.value().found_again)
        return wrong("calls a transaction done that the broker never answered");
    deal->committed = true;
    note(*deal, Type::ok);
    for (const Held& input : deal->inputs) drop(input.tag);
}

void LibraryTransactor::refused(const DealRef& deal, const transport::ClientError& why) {
    if (why.code == Errc::indeterminate && why.wire_code == wire::Code::ok)
        return wrong("does not know what became of a transaction: " + why.text);
    if (deal->exchange.told == Fate::done)
        return wrong("calls a transaction refused that the broker carried out");
    note(*deal, Type::fail);
    for (const Held& input : deal->inputs) settle(input, What::nack);
    waiting_.insert(waiting_.end(), deal->exchange.fresh.begin(), deal->exchange.fresh.end());
    plan();
}

void LibraryTransactor::on_killed() {
    for (const DealRef& deal : under_way_) note(*deal, Type::info);
    under_way_.clear();
    inputs_.clear();
    waiting_.clear();
    planned_ = false;
    LibraryConsumer::on_killed();
}

std::string LibraryTransactor::unrest() const {
    if (!under_way_.empty() || !waiting_.empty())
        return "library transactor " + std::to_string(process_) + " waits";
    return LibraryConsumer::unrest();
}

}  // namespace ferry::simulation
