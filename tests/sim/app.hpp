#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "machine.hpp"

namespace ferry::simulation {

/// Orders, written with their messages in one transaction, and, from the queue that they go to,
/// effects with an inbox.
class App final : public Machine {
public:
    App(Stage& stage, SqliteDisks& disks, std::uint32_t number, std::uint32_t queue);

    void heal() override;
    [[nodiscard]] std::string unrest() override;
    /// Effects are what was committed, no more and no less.
    [[nodiscard]] std::string verify() override;

private:
    struct Order {
        Note note;
        std::string payload;
        enum class Fate : std::uint8_t { unsure, committed, rolled_back } fate = Fate::unsure;
        bool effect = false;  // noted
    };

    [[nodiscard]] const char* tables() const override;
    [[nodiscard]] consumer::InboxOptions inbox() const override;
    void look_back() override;
    void go_on() override;
    bool handle(const Received& message) override;
    [[nodiscard]] std::set<std::uint64_t> ids_in(const char* sql);
    void order();
    void place(const std::vector<std::uint64_t>& ids, bool roll_back);
    [[nodiscard]] std::string write_orders(const std::vector<std::uint64_t>& ids, bool roll_back);
    void note(std::uint64_t id, history::Type type, history::What what);
    void note_effect(std::uint64_t id);

    std::map<std::uint64_t, Order> orders_;
    std::uint64_t made_ = 0;
    std::uint64_t most_;
};

}  // namespace ferry::simulation
