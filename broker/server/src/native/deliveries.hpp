#pragma once

#include <variant>
#include <vector>

#include "../hub.hpp"
#include "../protocol_session.hpp"
#include "frames.hpp"

namespace ferry::server::native {

/// What a session has still to send in order: deliveries, and the answers and cancellations that
/// must not overtake them. Renders them as their bytes become available and as the connection takes
/// them.
///
/// Threads   The loop's.
/// Memory    One entry per delivery of the engine: bounded by the windows.
class Deliveries {
public:
    Deliveries(Hub& hub, Link& link, engine::SessionId session)
        : hub_(hub), link_(link), session_(session) {}

    void add(engine::Deliver&& deliver);
    void add(const engine::Activated& activated);
    void add(engine::Reply&& reply);
    void add(engine::Cancelled&& cancelled);
    /// Behind the answer to the request that it is about.
    void add(engine::LockTold&& told);
    /// The client takes frames with messages from all over the log.
    void take_some_at_a_time() { some_at_a_time_ = true; }
    [[nodiscard]] bool some_at_a_time() const { return some_at_a_time_; }
    /// Sends what can be sent.
    void pump();
    /// Deliveries of `subscription` are not sent any more.
    void forget(std::uint64_t subscription);

    [[nodiscard]] bool empty() const { return head_ == items_.size(); }
    /// Bytes of messages that wait here.
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    void for_each_record(const std::function<void(engine::Position)>& visit) const;

    /// Called when a stored message cannot be read: the subscription ends with DAMAGED.
    std::function<void(std::uint64_t subscription, const Error&)> on_damaged;

private:
    using Item = std::variant<engine::Deliver, engine::Reply, engine::Cancelled, engine::Activated,
                              engine::LockTold>;

    enum class Sent : std::uint8_t { sent, waits, damaged };

    [[nodiscard]] bool has_room();
    Sent send(Item& item);
    Sent send(engine::Deliver& deliver);
    Sent send_some(engine::Deliver& deliver);
    void add_bytes(Bytes bytes);
    void note_sent(const engine::Deliver& deliver, std::uint64_t messages);
    void take_apart();
    Status render(const engine::Deliver& deliver, Bytes body, std::uint32_t skip,
                  std::uint32_t count);
    void fetch(engine::Position record);
    void fetched(engine::Position record, const Error* error);
    void look_ahead();
    void settle_sent();
    void unreadable(engine::Position record, const Error& error);
    template <class Predicate>
    void remove(Predicate&& unwanted);

    Hub& hub_;
    Link& link_;
    const engine::SessionId session_;
    std::vector<Item> items_;
    std::size_t head_ = 0;
    std::uint64_t bytes_ = 0;
    std::uint32_t reads_ = 0;  // under way for this session
    engine::Position last_asked_ = 0;
    bool pumping_ = false;
    bool some_at_a_time_ = false;
    // Scratch memory of send_some(): what goes into the frame.
    SomeMessages some_;
    std::vector<wire::Buffer> some_copies_;
    Error damage_{};
    // Sent without wanting acks: settled when the pump stops.
    std::vector<std::pair<std::uint64_t, engine::Range<engine::Tag>>> sent_;
};

}  // namespace ferry::server::native
