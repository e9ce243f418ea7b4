#pragma once

#include <cstdint>
#include <string_view>

namespace ferry::wire {

inline constexpr std::uint32_t protocol_version = 1;

/// First element of every frame. docs/protocol.md has one row for each.
enum class Verb : std::uint8_t {
    hello = 1,
    ok = 2,
    error = 3,
    heartbeat = 4,
    goodbye = 5,
    publish = 10,
    confirm = 11,
    refused = 12,
    producer = 14,
    hold = 15,
    subscribe = 20,
    deliver = 21,
    ack = 22,
    nack = 23,
    settled = 24,
    extend = 25,
    credit = 26,
    unsubscribe = 27,
    cancelled = 28,
    pull = 29,
    queue_declare = 40,
    queue_delete = 41,
    queue_purge = 42,
    queue_list = 43,
    queue_show = 44,
    queue_peek = 45,
    queue_move = 46,
    queue_drop = 47,
    exchange_declare = 50,
    exchange_delete = 51,
    exchange_list = 52,
    exchange_show = 53,
    bind = 54,
    unbind = 55,
    stats = 60,
    backup = 61,
    deliver_some = 70,
    activated = 71,
    transactions = 74,
    transaction = 75,
    prepare = 76,
    prepared_decide = 77,
    prepared_list = 78,
    prepared_show = 79,
    policy_set = 80,
    policy_delete = 81,
    policy_list = 82,
    why = 83,
    schedule_set = 84,
    schedule_delete = 85,
    schedule_list = 86,
    schedule_show = 87,
    schedule_pause = 88,
    schedule_next = 89,
    lock = 90,
    unlock = 91,
    lock_renew = 92,
    lock_told = 93,
    lock_list = 94,
    lock_show = 95,
    reply = 96,
    service = 97,
    service_list = 98,
    service_told = 99,
    auth_challenge = 100,
    auth_response = 101,
    blocked = 102,
    unblocked = 103,
    consumer_list = 110,
};

/// What a side may say in hello that it understands.
inline constexpr std::string_view capability_single_active = "single_active";
inline constexpr std::string_view capability_deliver_some = "deliver_some";
inline constexpr std::string_view capability_blocked = "blocked";

/// How a client proves who it is; docs/protocol.md, "Signing in".
inline constexpr std::string_view mechanism_scram = "SCRAM-SHA-256";
inline constexpr std::string_view mechanism_scram_plus = "SCRAM-SHA-256-PLUS";
inline constexpr std::string_view mechanism_plain = "PLAIN";
inline constexpr std::string_view mechanism_external = "EXTERNAL";

/// PUBLISH flags.
inline constexpr std::uint64_t publish_mandatory = 1;
inline constexpr std::uint64_t publish_in_order = 2;
inline constexpr std::uint64_t publish_to_consumer = 4;
inline constexpr std::uint64_t publish_unhurried = 8;
inline constexpr std::uint64_t publish_flags_known =
    publish_mandatory | publish_in_order | publish_to_consumer | publish_unhurried;
/// SERVICE_TOLD flags.
inline constexpr std::uint64_t service_begins = 1;    // a snapshot: forget what was known
inline constexpr std::uint64_t service_complete = 2;  // what is known is all there is
/// CONFIRM flags.
inline constexpr std::uint64_t confirm_duplicate = 1;
inline constexpr std::uint64_t confirm_repeated = 2;

}  // namespace ferry::wire
