#pragma once

#include <map>
#include <set>

#include "client.hpp"

namespace ferry::simulation {

/// Notes confirms and refusals of a connection that publishes, when the broker gives them away.
class PublishTap final : public Tap {
public:
    PublishTap(Recorder& recorder, std::uint32_t process)
        : recorder_(recorder), process_(process) {}
    void said(Bytes frames) override;
    void session_over() override {}

    std::uint64_t epoch = 1;

private:
    Recorder& recorder_;
    const std::uint32_t process_;
};

/// Publishes numbered messages under its own name and keeps each until it is confirmed, as the
/// client library does. When it is killed it remembers them, as an application's own store would.
class Producer final : public Client {
public:
    Producer(Stage& stage, std::uint32_t process, bool in_order);

    void kill(std::uint64_t down_ns) override;
    /// Nothing more will be said.
    [[nodiscard]] bool done() const { return made_ >= most_ && unsettled_.empty(); }
    void heal();
    [[nodiscard]] std::uint64_t confirmed() const { return confirmed_; }

private:
    struct Message {
        Note note;
        std::string payload;
        bool in_flight = false;
    };

    std::shared_ptr<Tap> make_tap() override;
    void set_up() override;
    void on_frame(const wire::FrameHead& head, wire::Cursor& cursor) override;
    void on_lost() override;
    void on_killed() override { on_lost(); }
    void opened(wire::Cursor& cursor);
    void on_confirm(const wire::FrameHead& head, wire::Cursor& cursor);
    void on_refused(const wire::FrameHead& head, wire::Cursor& cursor);
    void confirm(std::uint64_t seq);
    void make();
    void send_waiting();
    void send(const std::vector<std::uint64_t>& seqs);
    void retry_in(std::uint64_t ns);
    [[nodiscard]] bool any_in_flight() const;

    const bool in_order_;
    std::uint64_t most_;
    std::uint64_t made_ = 0;
    std::uint64_t confirmed_ = 0;
    std::map<std::uint64_t, Message> unsettled_;  // by sequence
    std::uint64_t handle_ = 0;
    std::uint64_t producer_request_ = 0;
    bool making_ = false;
    bool retrying_ = false;
};

}  // namespace ferry::simulation
