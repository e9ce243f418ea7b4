#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "ferry/consumer/inbox.hpp"

namespace ferry::sweep {

/// 'o' an order and its message are committed, 's' a relay may have marked a message as sent, 'e' a
/// message's effect is committed.
using Tell = std::function<void(char what, unsigned number)>;

/// What an application with an outbox, its relay and a consumer with an inbox do with their
/// databases. Nothing here minds failures; what is told was promised.
class Application {
public:
    static constexpr unsigned messages = 3;

    Application(std::string folder, Tell tell)
        : folder_(std::move(folder)), tell_(std::move(tell)) {}

    /// Empty databases. Asserts.
    void make();
    [[nodiscard]] std::unique_ptr<consumer::Inbox> inbox() const;
    void place_order(unsigned number);
    void relay_once();
    void apply(consumer::Inbox& inbox, unsigned number);

    /// Whether the effects of these messages are committed.
    [[nodiscard]] bool has_effects_of(const std::set<unsigned>& told) const;
    /// Everything has worked again, and each of `messages` was applied. Empty, or what is wrong.
    [[nodiscard]] std::string judge(const std::set<unsigned>& orders_told) const;

private:
    std::string folder_;
    Tell tell_;
};

}  // namespace ferry::sweep
