#include "producer.hpp"

#include <algorithm>

namespace ferry::simulation {

using history::Type;

void PublishTap::said(Bytes frames) {
    each_frame(frames, [&](const wire::FrameHead& head, wire::Cursor& cursor) {
        const bool confirm = head.verb == wire::Verb::confirm;
        if (!confirm && head.verb != wire::Verb::refused) return true;
        std::uint64_t producer = 0;
        std::uint64_t last = 0;
        if (!cursor.read_uint(producer) || !cursor.read_uint(last)) return true;
        for (std::uint64_t seq = head.request; seq <= last; ++seq)
            recorder_.published(process_, epoch, seq, confirm ? Type::ok : Type::fail);
        return true;
    });
}

Producer::Producer(Stage& stage, std::uint32_t process, bool in_order)
    : Client(stage, process), in_order_(in_order), most_(stage.swarm.messages) {}

std::shared_ptr<Tap> Producer::make_tap() {
    return std::make_shared<PublishTap>(stage_.recorder, process_);
}

void Producer::set_up() {
    for (std::uint32_t queue = 1; queue <= stage_.swarm.queues; ++queue) declare(queue);
    producer_request_ = next_request();
    ask(wire::Verb::producer, producer_request_, 2,
        [&](wire::Encoder& e) { e.str("producer-" + std::to_string(process_)).map(0); });
}

void Producer::on_frame(const wire::FrameHead& head, wire::Cursor& cursor) {
    if (head.verb == wire::Verb::confirm) return on_confirm(head, cursor);
    if (head.verb == wire::Verb::refused) return on_refused(head, cursor);
    if (head.request != producer_request_) return;
    if (head.verb == wire::Verb::ok) return opened(cursor);
    hang_up();
}

void Producer::opened(wire::Cursor& cursor) {
    std::uint64_t mark = 0;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> open;
    each_entry(cursor, [&](std::string_view key, wire::Cursor& at) {
        if (key == "producer") return at.read_uint(handle_);
        if (key == "mark") return at.read_uint(mark);
        if (key == "open") {
            open = read_ranges(at);
            return true;
        }
        return false;
    });
    phase_ = Phase::ready;
    world_.trace("producer opened", process_, mark);
    std::vector<std::uint64_t> there;
    for (const auto& entry : unsettled_) {
        if (entry.first > mark) break;
        const bool is_open = std::any_of(open.begin(), open.end(), [&](const auto& range) {
            return range.first <= entry.first && entry.first <= range.second;
        });
        if (!is_open) there.push_back(entry.first);
    }
    // Or it sends all of them again, and the broker has to know them.
    if (world_.chance(500)) there.clear();
    for (const std::uint64_t seq : there) {
        // The mark is the broker's word for it, as a confirm is.
        stage_.recorder.publish_sent(process_, 1, seq, unsettled_.at(seq).note);
        stage_.recorder.published(process_, 1, seq, Type::ok);
        confirm(seq);
    }
    if (mark > made_) world_.fail("the broker knows more of a producer than it ever sent");
    send_waiting();
    if (!making_) {
        making_ = true;
        later(world_.below(stage_.swarm.pause_ns_max), [this] { make(); });
    }
}

void Producer::make() {
    if (made_ >= most_) return;
    const std::uint64_t room =
        stage_.swarm.window - std::min<std::uint64_t>(stage_.swarm.window, unsettled_.size());
    const std::uint64_t wanted =
        std::min<std::uint64_t>({room, most_ - made_, world_.between(1, stage_.swarm.batch_max)});
    for (std::uint64_t i = 0; i < wanted; ++i) {
        Message message;
        message.note.id = stage_.recorder.new_id();
        message.note.queue = 1 + static_cast<std::uint32_t>(world_.below(stage_.swarm.queues));
        message.note.life_ns = stage_.swarm.life_ns(message.note.queue);
        // Order is promised to who publishes in order.
        if (stage_.swarm.keys && in_order_) message.note.key = 1 + world_.below(4);
        message.payload = payload_of(message.note.id, world_.below(stage_.swarm.payload_max));
        message.note.payload = hash_of(message.payload);
        unsettled_.emplace(++made_, std::move(message));
    }
    if (phase_ == Phase::ready && !retrying_) send_waiting();
    if (made_ >= most_) return;
    later(world_.below(stage_.swarm.pause_ns_max), [this] { make(); });
}

bool Producer::any_in_flight() const {
    return std::any_of(unsettled_.begin(), unsettled_.end(),
                       [](const auto& entry) { return entry.second.in_flight; });
}

// In ascending order; in order means that nothing goes out behind a message that was refused.
void Producer::send_waiting() {
    std::vector<std::uint64_t> run;
    for (auto& [seq, message] : unsettled_) {
        if (message.in_flight) continue;
        const bool follows = !run.empty() && run.back() + 1 == seq;
        if (!run.empty() && (!follows || run.size() >= stage_.swarm.batch_max)) {
            send(run);
            run.clear();
        }
        run.push_back(seq);
    }
    if (!run.empty()) send(run);
}

void Producer::send(const std::vector<std::uint64_t>& seqs) {
    const std::uint64_t floor = unsettled_.begin()->first - 1;
    ask(wire::Verb::publish, seqs.front(), 4, [&](wire::Encoder& e) {
        const std::uint64_t flags =
            wire::publish_mandatory | (in_order_ ? wire::publish_in_order : 0U);
        e.uint(handle_).uint(flags).uint(floor).array(static_cast<std::uint32_t>(seqs.size()));
        for (const std::uint64_t seq : seqs) {
            Message& message = unsettled_.at(seq);
            message.in_flight = true;
            stage_.recorder.publish_sent(process_, 1, seq, message.note);
            wire::Message out;
            out.routing_key = queue_name(message.note.queue);
            out.payload = message.payload;
            out.properties.id = "p" + std::to_string(message.note.id);
            if (message.note.key != 0)
                out.properties.ordering_key = "k" + std::to_string(message.note.key);
            wire::write_message(e, out);
        }
    });
    world_.trace("publish", process_, seqs.front(), seqs.size());
}

void Producer::confirm(std::uint64_t seq) {
    if (unsettled_.erase(seq) > 0) ++confirmed_;
}

void Producer::on_confirm(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t producer = 0;
    std::uint64_t last = 0;
    if (!cursor.read_uint(producer) || !cursor.read_uint(last)) return;
    world_.trace("confirmed", process_, head.request, last);
    for (std::uint64_t seq = head.request; seq <= last; ++seq) confirm(seq);
}

void Producer::on_refused(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t producer = 0;
    std::uint64_t last = 0;
    std::uint64_t code = 0;
    if (!cursor.read_uint(producer) || !cursor.read_uint(last) || !cursor.read_uint(code)) return;
    world_.trace("refused", process_, head.request, code);
    for (std::uint64_t seq = head.request; seq <= last; ++seq) {
        const auto at = unsettled_.find(seq);
        if (at != unsettled_.end()) at->second.in_flight = false;
    }
    const auto which = static_cast<wire::Code>(code);
    if (which == wire::Code::no_route) {  // its queue is not there any more
        for (std::uint32_t queue = 1; queue <= stage_.swarm.queues; ++queue) declare(queue);
    }
    retry_in(world_.between(20 * ms, 400 * ms));
}

void Producer::retry_in(std::uint64_t ns) {
    if (retrying_) return;
    retrying_ = true;
    later(ns, [this] {
        retrying_ = false;
        if (phase_ != Phase::ready) return;
        if (in_order_ && any_in_flight()) return retry_in(50 * ms);
        send_waiting();
    });
}

void Producer::on_lost() {
    for (auto& entry : unsettled_) entry.second.in_flight = false;
}

void Producer::kill(std::uint64_t down_ns) {
    making_ = retrying_ = false;
    Client::kill(down_ns);
}

// Nothing new any more.
void Producer::heal() {
    most_ = made_;
}

}  // namespace ferry::simulation
