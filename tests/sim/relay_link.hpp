#pragma once

#include <memory>
#include <optional>
#include <string>

#include "client.hpp"
#include "ferry/transport/sequenced.hpp"

namespace ferry::simulation {

/// The relay's way to the broker. The real one waits for the broker in open(); here nobody may
/// wait, so open() fails until the connection that it has begun is there, and the relay tries
/// again, as it does when the broker is away.
class RelayLink final : public Client {
public:
    /// `poke`: something has come that the relay should look at. `sending`: bytes are about to
    /// leave the machine.
    RelayLink(Stage& stage, std::uint32_t process, std::function<void()> poke,
              std::function<void()> sending);

    [[nodiscard]] std::unique_ptr<transport::SequencedPublisher> publisher(
        transport::SequencedEvents& events);

private:
    class Publisher;
    struct Gathering {
        std::uint64_t first = 0;
        std::uint32_t count = 0;
        bool mandatory = false;
        wire::Buffer messages;
    };

    transport::Answer<transport::ProducerState> open(std::string_view producer,
                                                     std::uint64_t epoch);
    Status publish(std::uint64_t sequence, const transport::SequencedMessage& message);
    Status hold(transport::SequenceRange sequences);
    void flush();
    void close();

    std::shared_ptr<Tap> make_tap() override;
    void set_up() override;
    void on_frame(const wire::FrameHead& head, wire::Cursor& cursor) override;
    void on_lost() override;
    void on_killed() override;
    [[nodiscard]] bool reconnects() const override { return wanted_; }
    void opened(wire::Cursor& cursor);
    void refused_to_open(wire::Cursor& cursor);
    void answered(const wire::FrameHead& head, wire::Cursor& cursor);

    std::function<void()> poke_;
    std::function<void()> sending_;
    transport::SequencedEvents* events_ = nullptr;
    bool wanted_ = false;
    bool in_use_ = false;  // open() has returned this connection
    std::string producer_;
    std::uint64_t epoch_ = 0;
    std::uint64_t handle_ = 0;
    std::uint64_t producer_request_ = 0;
    std::uint64_t settled_ = 0;
    std::uint64_t unanswered_ = 0;
    std::optional<transport::ProducerState> state_;
    std::optional<transport::ClientError> refusal_;
    Gathering gathering_;
};

}  // namespace ferry::simulation
