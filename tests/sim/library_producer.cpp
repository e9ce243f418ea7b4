#include "library_producer.hpp"

#include <algorithm>

namespace ferry::simulation {

using transport::Outcome;

LibraryProducer::LibraryProducer(Stage& stage, std::uint32_t process)
    : LibraryClient(stage, process, 0),
      named_(world_.chance(700)),
      by_range_(world_.chance(500)),
      most_(stage.swarm.messages) {}

void LibraryProducer::choose(transport::ClientOptions& options) {
    const Swarm& swarm = stage_.swarm;
    // Who comes again under its name begins another epoch: what its former life sent last may still
    // arrive, and must not take the place of what this one sends first.
    if (named_) {
        options.producer = "library-" + std::to_string(process_);
        options.epoch = ++epoch_;
    }
    options.batch_messages = swarm.batch_max;
    options.batch_bytes = 4096;
    options.window_messages = swarm.window;
    options.window_bytes = world_.chance(300) ? 4096 : 1U << 20;
    options.linger_ms = world_.chance(300) ? static_cast<std::uint32_t>(world_.below(50)) : 0;
    options.retry_refused = world_.chance(500);
    if (!by_range_) return;
    options.on_confirm = [this](std::uint64_t first, std::uint64_t last, const Outcome& outcome) {
        for (std::uint64_t seq = first; seq <= last; ++seq) ended(seq, outcome);
    };
}

void LibraryProducer::begun() {
    for (std::uint32_t queue = 1; queue <= stage_.swarm.queues; ++queue) declare(queue);
    plan();
}

const Note* LibraryProducer::published(std::uint64_t id) const {
    const auto at = messages_.find(id);
    return at == messages_.end() ? nullptr : &at->second.note;
}

void LibraryProducer::plan() {
    if (planned_) return;
    planned_ = true;
    later(world_.below(stage_.swarm.pause_ns_max) + us, [this] {
        planned_ = false;
        make();
        offer();
        if (made_ < most_ || !waiting_.empty()) plan();
    });
}

std::uint32_t LibraryProducer::any_queue() {
    return 1 + static_cast<std::uint32_t>(world_.below(stage_.swarm.queues));
}

LibraryProducer::Message LibraryProducer::new_message(std::uint32_t queue) {
    Message message;
    message.note.id = stage_.recorder.new_id();
    message.note.queue = queue;
    message.note.life_ns = stage_.swarm.life_ns(queue);
    message.payload = payload_of(message.note.id, world_.below(stage_.swarm.payload_max));
    message.note.payload = hash_of(message.payload);
    ++made_;
    return message;
}

void LibraryProducer::make() {
    const std::uint64_t wanted = world_.between(1, stage_.swarm.batch_max);
    const std::uint32_t queue = any_queue();
    for (std::uint64_t i = 0; i < wanted && made_ < most_; ++i) {
        Message message = new_message(world_.chance(500) ? queue : any_queue());
        waiting_.insert(message.note.id);
        messages_.emplace(message.note.id, std::move(message));
    }
}

// Until it takes no more: before the first connection, and when its window is full.
void LibraryProducer::offer() {
    while (!waiting_.empty() && (by_range_ && world_.chance(300) ? offer_many() : offer_one())) {
    }
}

bool LibraryProducer::offer_one() {
    const Message& message = messages_.at(*waiting_.begin());
    transport::PublishOptions options;
    options.mandatory = true;
    transport::Message out;
    out.routing_key = queue_name(message.note.queue);
    out.payload = message.payload;
    out.properties.id = "p" + std::to_string(message.note.id);
    transport::ConfirmCallback done;
    if (!by_range_) {
        done = [this](std::uint64_t seq, const Outcome& outcome) { ended(seq, outcome); };
    }
    const auto seq = client().publish_async(out, std::move(done), options);
    if (!seq.ok()) return false;
    taken(seq.value(), message.note.id);
    return true;
}

// What goes to the same queue as the first one.
bool LibraryProducer::offer_many() {
    const std::uint32_t queue = messages_.at(*waiting_.begin()).note.queue;
    std::vector<std::uint64_t> ids;
    std::vector<Bytes> payloads;
    for (const std::uint64_t id : waiting_) {
        const Message& message = messages_.at(id);
        if (message.note.queue != queue) continue;
        ids.push_back(id);
        payloads.push_back(as_bytes(message.payload));
    }
    transport::PublishOptions options;
    options.mandatory = true;
    std::size_t count = 0;
    const std::uint64_t before = client().last_sequence();
    const auto last = client().enqueue_many("", queue_name(queue), payloads, &count, options);
    for (std::size_t i = 0; i < count; ++i) taken(before + 1 + i, ids[i]);
    return last.ok();
}

void LibraryProducer::taken(std::uint64_t seq, std::uint64_t id) {
    waiting_.erase(id);
    if (!unsettled_.emplace(seq, id).second) wrong("gave one sequence to two messages");
}

void LibraryProducer::told(std::uint64_t life, std::uint64_t seq, bool confirmed) {
    if (life != life_number()) return;
    Told& entry = told_[seq];
    (confirmed ? entry.confirmed : entry.refused) = true;
}

void LibraryProducer::ended(std::uint64_t seq, const Outcome& outcome) {
    if (!lives()) return;
    const auto at = unsettled_.find(seq);
    if (at == unsettled_.end()) return wrong("tells of a sequence twice, or of one it never gave");
    const std::uint64_t id = at->second;
    unsettled_.erase(at);
    world_.trace(outcome.ok() ? "library confirms" : "library refuses", process_, seq, id);
    if (outcome.ok() && !told_[seq].confirmed)
        return wrong("tells of a confirm that the broker never gave");
    if (outcome.ok()) return offer();
    if (outcome.kind != Outcome::Kind::refused) return wrong("is in doubt while it lives");
    if (!told_[seq].refused) return wrong("tells of a refusal that the broker never gave");
    if (outcome.code == wire::Code::no_route) {
        for (std::uint32_t queue = 1; queue <= stage_.swarm.queues; ++queue) declare(queue);
    }
    // It was surely not stored: it may be published again as if for the first time.
    later(world_.between(20 * ms, 400 * ms), [this, id] {
        waiting_.insert(id);
        offer();
        if (!waiting_.empty()) plan();
    });
}

// What was under way is in doubt for ever: nobody publishes it again.
void LibraryProducer::on_killed() {
    unsettled_.clear();
    told_.clear();
    planned_ = false;
}

std::string LibraryProducer::unrest() const {
    if (made_ < most_ || !waiting_.empty() || !unsettled_.empty())
        return "library producer " + std::to_string(process_) + " waits";
    return LibraryClient::unrest();
}

}  // namespace ferry::simulation
