#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ferry/platform/bytes.hpp"
#include "ferry/transport/sequenced.hpp"
#include "ferry/wire/encoder.hpp"

namespace ferry::outbox::relay {

/// One row of ferry_outbox. Views: live as long as the statement that read it stays where it is.
struct RowView {
    std::uint64_t id = 0;
    std::string_view exchange = {};
    std::string_view routing_key = {};
    Bytes payload = {};
    std::string_view ordering_key = {};
    std::string_view content_type = {};
    std::string_view headers = {};  // JSON
    std::uint64_t deliver_at_ms = 0;
    std::uint64_t expires_at_ms = 0;
    std::uint64_t priority = 0;
    std::string_view correlation_id = {};
    std::string_view reply_to = {};
    std::uint64_t created_ms = 0;
};

/// Makes messages of rows: checks everything (anybody may have written the row), adds the origin
/// and the floor. Threads: one.
class MessageEncoder {
public:
    void set_origin(std::string_view producer, std::uint64_t epoch);
    /// What is wrong with the row; empty: nothing, and `out` shows the message until the next call.
    [[nodiscard]] std::string encode(const RowView& row, std::uint64_t floor,
                                     transport::SequencedMessage& out);

private:
    std::string producer_;
    std::uint64_t epoch_ = 0;
    std::string id_;
    wire::Buffer headers_;
    wire::Buffer properties_;
};

}  // namespace ferry::outbox::relay
