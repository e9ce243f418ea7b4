#include "relay_link.hpp"

namespace ferry::simulation {
namespace {

constexpr std::uint64_t window_messages = 256;
constexpr std::size_t batch_bytes_max = 16U << 10;

class NoTap final : public Tap {
public:
    void said(Bytes) override {}
    void session_over() override {}
};

}  // namespace

/// What the relay holds; the link may be used by another one after it.
class RelayLink::Publisher final : public transport::SequencedPublisher {
public:
    Publisher(RelayLink& link, transport::SequencedEvents& events) : link_(link) {
        link_.events_ = &events;
    }
    // A connection that is being made is for the next one: the relay drops who could not open.
    ~Publisher() override {
        link_.events_ = nullptr;
        if (link_.in_use_) link_.close();
    }
    transport::Answer<transport::ProducerState> open(std::string_view producer,
                                                     std::uint64_t epoch) override {
        return link_.open(producer, epoch);
    }
    Status publish(std::uint64_t sequence, const transport::SequencedMessage& message) override {
        return link_.publish(sequence, message);
    }
    Status hold(transport::SequenceRange sequences) override { return link_.hold(sequences); }
    void settled(std::uint64_t upto) override { link_.settled_ = upto; }
    void flush() override { link_.flush(); }
    [[nodiscard]] std::uint64_t unanswered() const override { return link_.unanswered_; }
    void close() override { link_.close(); }

private:
    RelayLink& link_;
};

RelayLink::RelayLink(Stage& stage, std::uint32_t process, std::function<void()> poke,
                     std::function<void()> sending)
    : Client(stage, process), poke_(std::move(poke)), sending_(std::move(sending)) {}

std::unique_ptr<transport::SequencedPublisher> RelayLink::publisher(
    transport::SequencedEvents& events) {
    return std::make_unique<Publisher>(*this, events);
}

std::shared_ptr<Tap> RelayLink::make_tap() {
    return std::make_shared<NoTap>();
}

transport::Answer<transport::ProducerState> RelayLink::open(std::string_view producer,
                                                            std::uint64_t epoch) {
    const bool same = producer_ == producer && epoch_ == epoch;
    if (same && !in_use_ && refusal_) {
        const transport::ClientError why = *refusal_;
        close();
        return why;
    }
    if (same && !in_use_ && state_ && phase_ == Phase::ready) {
        in_use_ = true;
        return *state_;
    }
    if (!same || in_use_) close();
    producer_ = producer;
    epoch_ = epoch;
    refusal_.reset();
    if (!wanted_) {
        wanted_ = true;
        connect_in(us);
    }
    return transport::ClientError{Errc::unreachable, wire::Code::ok, "not connected yet"};
}

void RelayLink::close() {
    wanted_ = in_use_ = false;
    state_.reset();
    refusal_.reset();
    gathering_ = {};
    unanswered_ = 0;
    hang_up();
}

void RelayLink::set_up() {
    producer_request_ = next_request();
    ask(wire::Verb::producer, producer_request_, 2,
        [&](wire::Encoder& e) { e.str(producer_).map(1).str("epoch").uint(epoch_); });
}

void RelayLink::on_frame(const wire::FrameHead& head, wire::Cursor& cursor) {
    if (head.verb == wire::Verb::confirm || head.verb == wire::Verb::refused)
        return answered(head, cursor);
    if (head.request != producer_request_) return;
    if (head.verb == wire::Verb::ok) return opened(cursor);
    refused_to_open(cursor);
}

void RelayLink::opened(wire::Cursor& cursor) {
    transport::ProducerState state;
    state.payload_bytes_max = stage_.swarm.frame_bytes - (24U << 10);
    state.frame_bytes_max = stage_.swarm.frame_bytes;
    each_entry(cursor, [&](std::string_view key, wire::Cursor& at) {
        if (key == "producer") return at.read_uint(handle_);
        if (key == "epoch") return at.read_uint(state.epoch);
        if (key == "mark") return at.read_uint(state.mark);
        if (key == "open") {
            for (const auto& [first, last] : read_ranges(at)) state.open.push_back({first, last});
            return true;
        }
        return false;
    });
    state_ = std::move(state);
    phase_ = Phase::ready;
    world_.trace("relay connected", process_, state_->mark);
    poke_();
}

void RelayLink::refused_to_open(wire::Cursor& cursor) {
    std::uint64_t code = 0;
    std::string_view text;
    if (!cursor.read_uint(code)) return;
    if (!cursor.read_str(text)) text = {};
    world_.trace("relay is refused", process_, code);
    refusal_ = transport::refused_by_broker(static_cast<wire::Code>(code), text);
    wanted_ = false;
    hang_up();
    poke_();
}

Status RelayLink::publish(std::uint64_t sequence, const transport::SequencedMessage& message) {
    if (phase_ != Phase::ready || !in_use_) return Error{Errc::unreachable, 0, 0, "lost"};
    if (unanswered_ >= window_messages) return Error{Errc::would_block, 0, 0, "window"};
    Gathering& g = gathering_;
    const bool follows = g.count != 0 && g.first + g.count == sequence &&
                         g.mandatory == message.mandatory && g.messages.size() < batch_bytes_max;
    if (!follows) flush();
    if (g.count == 0) {
        g.first = sequence;
        g.mandatory = message.mandatory;
    }
    wire::Encoder e(g.messages);
    e.array(4).str(message.exchange).str(message.routing_key);
    if (message.properties.empty()) {
        e.nil();
    } else {
        e.raw(message.properties);
    }
    e.bin(message.payload);
    ++g.count;
    ++unanswered_;
    return ok_status();
}

Status RelayLink::hold(transport::SequenceRange sequences) {
    if (phase_ != Phase::ready || !in_use_) return Error{Errc::unreachable, 0, 0, "lost"};
    flush();
    sending_();
    ask(wire::Verb::hold, next_request(), 2, [&](wire::Encoder& e) {
        e.uint(handle_).array(2).uint(sequences.first).uint(sequences.last);
    });
    return ok_status();
}

void RelayLink::flush() {
    Gathering& g = gathering_;
    if (g.count == 0) return;
    if (phase_ == Phase::ready) {
        world_.trace("relay publishes", process_, g.first, g.count);
        sending_();
        ask(wire::Verb::publish, g.first, 4, [&](wire::Encoder& e) {
            const std::uint64_t flags =
                wire::publish_in_order | (g.mandatory ? wire::publish_mandatory : 0U);
            e.uint(handle_).uint(flags).uint(settled_).array(g.count).raw(g.messages);
        });
    }
    g = {};
}

void RelayLink::answered(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::uint64_t producer = 0;
    std::uint64_t last = 0;
    std::uint64_t third = 0;
    std::string_view text;
    if (!cursor.read_uint(producer) || !cursor.read_uint(last) || !cursor.read_uint(third)) return;
    const std::uint64_t count = last - head.request + 1;
    unanswered_ -= std::min(unanswered_, count);
    transport::Outcome outcome;
    using Kind = transport::Outcome::Kind;
    if (head.verb == wire::Verb::refused) {
        if (!cursor.read_str(text)) text = {};
        outcome = {Kind::refused, static_cast<wire::Code>(third), text};
    } else if ((third & wire::confirm_duplicate) != 0) {
        outcome.kind = Kind::duplicate;
    }
    world_.trace("relay is answered", head.request, last, third);
    if (events_ != nullptr) events_->on_answered({head.request, last}, outcome);
    poke_();
}

void RelayLink::on_lost() {
    const bool told = in_use_;
    in_use_ = false;
    state_.reset();
    gathering_ = {};
    unanswered_ = 0;
    if (!told) return;
    wanted_ = false;
    if (events_ != nullptr) events_->on_lost({Errc::unreachable, wire::Code::ok, "lost"});
    poke_();
}

void RelayLink::on_killed() {
    events_ = nullptr;
    wanted_ = in_use_ = false;
    state_.reset();
    refusal_.reset();
    gathering_ = {};
    unanswered_ = 0;
}

}  // namespace ferry::simulation
