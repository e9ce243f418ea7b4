#pragma once

#include <map>
#include <set>
#include <vector>

#include "client.hpp"

namespace ferry::simulation {

/// A message as a consumer has it.
struct Received {
    std::uint64_t tag = 0;
    std::uint64_t position = 0;
    std::uint64_t token = 0;
    std::uint32_t attempt = 0;
    std::string routing_key;
    std::string payload;
    wire::Properties properties;
};

/// Reads a frame of deliveries behind its head.
[[nodiscard]] std::vector<Received> read_deliver(wire::Cursor& cursor);
[[nodiscard]] std::vector<Received> read_deliver_some(wire::Cursor& cursor);

/// Tags are each subscription's own; over all subscriptions of a connection they are told apart so.
[[nodiscard]] inline std::uint64_t tag_of(std::uint64_t subscription, std::uint64_t tag) {
    return ((subscription - 1) << 40U) + tag;
}

/// Notes what the broker hands to one consumer and takes back from it.
class DeliverTap : public Tap {
public:
    /// Not `noted`: messages that stand in no history.
    DeliverTap(Recorder& recorder, std::uint32_t process, std::uint32_t queue, bool noted = true)
        : recorder_(recorder), process_(process), queue_(queue), noted_(noted) {}
    void said(Bytes frames) override;
    void session_over() override;
    /// The client does not use this connection any more; the broker may not know yet.
    void client_gone();

    /// The client is about to ask for this.
    void asked(std::uint64_t request, history::What what,
               const std::vector<std::pair<std::uint64_t, std::uint64_t>>& tags);
    [[nodiscard]] bool knows(std::uint64_t tag) const { return leases_.count(tag) != 0; }
    /// The delivery with this tag.
    [[nodiscard]] const history::Event& lease(std::uint64_t tag) const { return leases_.at(tag); }

protected:
    virtual void said_other(const wire::FrameHead& /*head*/, wire::Cursor& /*cursor*/) {}
    /// This delivery is settled.
    void over(std::uint64_t tag) { live_.erase(tag); }
    [[nodiscard]] bool is_gone() const { return gone_; }

private:
    struct Request {
        history::What what = history::What::ack;
        std::vector<std::uint64_t> tags;
    };
    void delivered(std::uint64_t subscription, const std::vector<Received>& messages);
    void settled(std::uint64_t request, wire::Cursor& cursor);
    void end_leases();
    void note(history::Event event, history::Type type, history::What what);

    Recorder& recorder_;
    const std::uint32_t process_;
    const std::uint32_t queue_;
    const bool noted_;
    std::map<std::uint64_t, history::Event> leases_;  // by tag_of(); every one of this connection
    std::set<std::uint64_t> live_;
    std::map<std::uint64_t, Request> requests_;
    bool over_ = false;
    bool gone_ = false;
};

/// Consumes one queue: thinks, then acks, gives back, or forgets about it until the lease is over.
class Consumer : public Client {
public:
    Consumer(Stage& stage, std::uint32_t process, std::uint32_t queue);

protected:
    /// What it does with a message; calls answer() sooner or later.
    virtual void handle(const Received& message);
    enum class Answer : std::uint8_t { ack, give_back, reject };
    void answer(std::uint64_t tag, Answer how, std::uint64_t delay_ms = 0);
    /// The ack of this delivery is durable, or its lease was lost, or nobody knows.
    virtual void on_settled(std::uint64_t /*tag*/, bool /*durable*/) {}
    /// Consuming has begun; other answers than this class expects.
    virtual void on_ready() {}
    virtual void on_answer(const wire::FrameHead& /*head*/, wire::Cursor& /*cursor*/) {}
    void on_lost() override;
    void on_killed() override { on_lost(); }

    void set_up() override;
    void subscribe();
    [[nodiscard]] virtual std::shared_ptr<DeliverTap> make_deliver_tap();
    [[nodiscard]] bool holds(std::uint64_t tag) const { return held_.count(tag) != 0; }
    /// It was answered in another way.
    void drop(std::uint64_t tag) { held_.erase(tag); }
    static constexpr std::uint64_t subscription = 1;

    const std::uint32_t queue_;

private:
    std::shared_ptr<Tap> make_tap() override;
    void on_frame(const wire::FrameHead& head, wire::Cursor& cursor) override;

    std::shared_ptr<DeliverTap> tap_;
    std::set<std::uint64_t> held_;                  // tags that were not answered
    std::map<std::uint64_t, std::uint64_t> asked_;  // request -> tag that is to be acked
    std::uint64_t subscribe_request_ = 0;
};

}  // namespace ferry::simulation
