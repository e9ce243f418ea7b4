#pragma once

#include <map>

#include "client.hpp"

namespace ferry::simulation {

/// Somebody with a command line: empties queues.
class Operator final : public Client {
public:
    Operator(Stage& stage, std::uint32_t process) : Client(stage, process) {}
    void purge(std::uint32_t queue);

private:
    class PurgeTap;
    std::shared_ptr<Tap> make_tap() override;
    void set_up() override { phase_ = Phase::ready; }
    void on_frame(const wire::FrameHead&, wire::Cursor&) override {}

    std::shared_ptr<PurgeTap> tap_;
};

}  // namespace ferry::simulation
