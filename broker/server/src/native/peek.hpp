#pragma once

#include <vector>

#include "../hub.hpp"
#include "../protocol_session.hpp"

namespace ferry::server::native {

/// One queue_peek under way: gathers the messages, reading from disk where it must, and answers.
class Peek {
public:
    Peek(Hub& hub, Link& link, engine::SessionId session, std::uint64_t request,
         std::vector<engine::PeekItem> items, std::size_t messages_max, std::uint64_t bytes_max);

    /// Goes as far as it can. True: the answer was written.
    bool go_on();
    /// The record cannot be read: go on behind it, if it is what go_on() waits for.
    void skip(engine::Position record);

private:
    bool add(const engine::PeekItem& item, Bytes body);
    void fetch(engine::Position record);
    void answer();

    Hub& hub_;
    Link& link_;
    const engine::SessionId session_;
    const std::uint64_t request_;
    const std::vector<engine::PeekItem> items_;
    const std::size_t messages_max_;
    const std::uint64_t bytes_max_;
    std::size_t at_ = 0;
    wire::Buffer rows_;
    std::uint32_t count_ = 0;
};

}  // namespace ferry::server::native
