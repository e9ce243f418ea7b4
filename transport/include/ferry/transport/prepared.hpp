#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ferry/wire/message.hpp"

namespace ferry::transport {

/// How a message is prepared; docs/checkback.md.
struct PrepareOptions {
    /// Under which it is submitted or dropped: 1 to 200 bytes, never used before. Empty: the client
    /// makes one of 128 random bits.
    std::string id;
    /// Where the broker asks when nobody decides; a queue that exists.
    std::string check_queue;
    std::string producer;              // shown to people; empty: the client's name
    std::uint64_t check_after_ms = 0;  // before the first check; 0: 10 seconds
    std::uint32_t max_checks = 0;      // then it is parked; 0: 15
};

/// What became of prepare, submit, drop and resume, durably.
struct PreparedResult {
    std::string id;
    bool duplicate = false;  // it was so before
};

/// A message that is prepared and not decided.
struct PreparedInfo {
    std::string id;
    std::string producer;
    std::string check_queue;
    std::uint64_t check_after_ms = 0;
    std::uint64_t max_checks = 0;
    std::uint64_t prepared_ms = 0;    // ms since 1970, as all times here
    std::uint64_t next_check_ms = 0;  // 0: it is parked
    std::uint64_t checks = 0;         // put into the check queue since it was prepared or resumed
    std::uint64_t asked = 0;          // since it was prepared
    std::uint64_t asked_ms = 0;       // when last; 0: never
    bool parked = false;
    /// Why a check that is due is not in its queue: "no_queue", "queue_full", "nobody_there", or
    /// empty.
    std::string unasked;
    std::string exchange;
    std::string routing_key;
    wire::Message message;     // only from show_prepared
    bool has_message = false;  // too large for a frame beside the rest otherwise
};

struct PreparedPage {
    std::vector<PreparedInfo> prepared;  // in order of id
    bool more = false;                   // ask again with after = the last id
};

}  // namespace ferry::transport
