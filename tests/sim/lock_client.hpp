#pragma once

#include <map>

#include "client.hpp"

namespace ferry::simulation {

/// Competes for locks: asks, waits in line or tries again, renews, or stops renewing, lets go.
class LockClient final : public Client {
public:
    LockClient(Stage& stage, std::uint32_t process);

    void heal();
    /// It has no lock and waits for none.
    [[nodiscard]] bool at_rest() const { return state_ == State::resting; }

private:
    class LockTap;
    enum class State : std::uint8_t { resting, asking, waiting, holding, letting_go };

    std::shared_ptr<Tap> make_tap() override;
    void set_up() override;
    void on_frame(const wire::FrameHead& head, wire::Cursor& cursor) override;
    void on_lost() override { request_ = renew_request_ = 0; }
    void on_killed() override;

    void begin_round();
    void ask_for_it();
    void granted(std::uint64_t token);
    void renew();
    void let_go();
    void round_over(std::uint64_t pause_ns);
    [[nodiscard]] std::string lock_name() const { return "lock" + std::to_string(lock_); }
    [[nodiscard]] std::string holder() const { return "holder" + std::to_string(process_); }

    std::shared_ptr<LockTap> tap_;
    State state_ = State::resting;
    std::uint32_t lock_ = 1;
    bool stands_in_line_ = false;
    std::uint64_t token_ = 0;
    std::uint64_t round_ = 0;
    std::uint64_t renewals_left_ = 0;
    std::uint64_t request_ = 0;  // lock or unlock, without an answer
    std::uint64_t renew_request_ = 0;
    bool begun_ = false;
};

}  // namespace ferry::simulation
