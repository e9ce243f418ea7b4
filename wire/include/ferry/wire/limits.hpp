#pragma once

#include <cstdint>
#include <string_view>

/// Every limit of protocol and broker that is not a configuration key. docs/protocol.md shows the
/// same table.
namespace ferry::limits {

inline constexpr std::uint32_t frame_length_bytes = 4;
inline constexpr std::uint32_t frame_bytes_max = 1U << 20;  // default of limits.frame_bytes
inline constexpr std::uint32_t frame_bytes_cap = 2U << 20;  // highest allowed setting
inline constexpr std::uint32_t frame_bytes_before_hello_max = 4096;
inline constexpr std::uint32_t message_overhead_bytes_max = 24U
                                                            << 10;  // names, properties, headers
inline constexpr std::uint32_t payload_bytes_max = frame_bytes_max - message_overhead_bytes_max;
inline constexpr std::uint32_t messages_per_frame_max = 65536;
inline constexpr std::uint32_t ranges_per_frame_max = 16384;
inline constexpr std::uint32_t name_bytes_max = 255;
inline constexpr std::uint32_t routing_key_bytes_max = 255;
inline constexpr std::uint32_t short_text_bytes_max =
    255;  // ids, content type, reply-to, ordering key
inline constexpr std::uint32_t headers_max = 64;
inline constexpr std::uint32_t headers_bytes_max = 16U << 10;
inline constexpr std::uint32_t msgpack_depth_max = 8;
inline constexpr std::uint32_t priority_max = 9;

// Consistent hashing: a member of weight w has w * ring_points_per_weight points on the ring.
inline constexpr std::uint32_t ring_points_per_weight = 64;
inline constexpr std::uint32_t ring_weight_max = 64;
inline constexpr std::uint32_t ring_points_per_member_max =
    ring_points_per_weight * ring_weight_max;
inline constexpr std::uint32_t ring_points_max = 1U << 18;        // of one ring; 16 bytes each
inline constexpr std::uint32_t ring_points_total_max = 4U << 20;  // of all exchanges
inline constexpr std::uint32_t ring_member_bytes_max = 512;
inline constexpr std::uint32_t key_slots = 1024;            // of an ordered queue
inline constexpr std::uint32_t ordered_ahead_max = 65'536;  // runs an ordered queue looks past
inline constexpr std::uint32_t consumers_shown_max = 256;
// Of those that take more, so many are compared to find the one that holds the least.
inline constexpr std::uint32_t consumers_compared_max = 64;

inline constexpr std::uint32_t queues_max = 100'000;
inline constexpr std::uint32_t exchanges_max = 10'000;
inline constexpr std::uint32_t bindings_max = 1'000'000;
inline constexpr std::uint32_t exchange_hops_max = 16;         // exchange-to-exchange depth
inline constexpr std::uint32_t queues_per_message_max = 4096;  // fan-out of one message
inline constexpr std::uint32_t subscriptions_per_connection_max = 4096;
inline constexpr std::uint32_t producers_per_connection_max = 64;
inline constexpr std::uint32_t producers_max = 100'000;
/// Names of producers that clients draw by chance, for one run.
inline constexpr std::string_view temporary_producer_prefix = "tmp-";
inline constexpr std::uint32_t transactions_per_frame_max = 4096;
inline constexpr std::uint32_t transaction_parts_max = 4096;    // subscriptions, acked or rejected
inline constexpr std::uint32_t transaction_pieces_max = 16384;  // separate runs of deliveries
inline constexpr std::uint32_t transaction_targets_max = 65536;
inline constexpr std::uint32_t open_sequences_max = 65'536;    // per producer: refused or held
inline constexpr std::uint32_t window_messages_max = 100'000;  // unacked per subscription
inline constexpr std::uint64_t window_bytes_max = 256ULL << 20;
inline constexpr std::uint64_t lease_ms_min = 1'000;
inline constexpr std::uint64_t lease_ms_default = 30ULL * 60 * 1000;
inline constexpr std::uint64_t lease_ms_max = 7ULL * 24 * 3600 * 1000;
inline constexpr std::uint64_t retry_delay_ms_max = 7ULL * 24 * 3600 * 1000;
inline constexpr std::uint32_t max_deliveries_max = 1'000'000;
inline constexpr std::uint64_t ttl_ms_max = 10ULL * 365 * 24 * 3600 * 1000;
inline constexpr std::uint64_t dedupe_window_ms_max = 7ULL * 24 * 3600 * 1000;
inline constexpr std::uint64_t dedupe_ids_default = 65'536;  // per queue
inline constexpr std::uint64_t dedupe_ids_max = 1'000'000;
inline constexpr std::uint64_t queue_length_max = 1ULL << 40;  // of max_length
inline constexpr std::uint64_t queue_bytes_max = 1ULL << 50;   // of max_bytes
inline constexpr std::uint32_t deaths_max = 64;  // of one message; then it stays parked
inline constexpr std::uint32_t move_messages_max = 1'000'000;  // in one request
inline constexpr std::uint32_t peek_messages_max = 1'000;
inline constexpr std::uint32_t list_page_max = 1'000;
inline constexpr std::uint32_t schedules_max = 1'000;
inline constexpr std::uint32_t schedule_message_bytes_max = 64U << 10;
/// Later than this a scheduled message has missed its time.
inline constexpr std::uint64_t schedule_grace_ms = 60'000;
inline constexpr std::uint32_t prepared_max = 65'536;             // prepared and not decided
inline constexpr std::uint64_t prepared_bytes_max = 64ULL << 20;  // of their messages; in memory
inline constexpr std::uint32_t prepared_id_bytes_max = 200;       // it begins the id of its checks
/// So many decisions are remembered, and not longer, so that a repeated one is known.
inline constexpr std::uint32_t prepared_decisions_max = 65'536;
inline constexpr std::uint64_t prepared_decisions_ms = 24ULL * 3600 * 1000;
inline constexpr std::uint64_t check_after_ms_min = 100;
inline constexpr std::uint64_t check_after_ms_default = 10'000;
inline constexpr std::uint64_t check_after_ms_max = 7ULL * 24 * 3600 * 1000;
/// Checks come at growing distances up to this one, or to the first if that is longer.
inline constexpr std::uint64_t check_distance_ms_max = 10ULL * 60 * 1000;
/// A check that could not be put into its queue is tried again after the first distance, at most
/// this.
inline constexpr std::uint64_t check_again_ms_max = 10'000;
inline constexpr std::uint32_t max_checks_default = 15;
inline constexpr std::uint32_t max_checks_max = 1'000;
inline constexpr std::uint32_t policies_max = 256;
inline constexpr std::uint32_t policy_priority_max = 1'000;
inline constexpr std::uint64_t lock_ttl_ms_min = 1'000;
inline constexpr std::uint64_t lock_ttl_ms_default = 15'000;
inline constexpr std::uint64_t lock_ttl_ms_max = 24ULL * 3600 * 1000;
inline constexpr std::uint64_t lock_delay_ms_default = 2'000;
inline constexpr std::uint64_t lock_delay_ms_max = 10ULL * 60 * 1000;
inline constexpr std::uint32_t lock_permits_max = 1'024;
inline constexpr std::uint32_t locks_max = 100'000;
inline constexpr std::uint32_t lock_waiters_max = 10'000;   // of one lock
inline constexpr std::uint32_t lock_parties_max = 262'144;  // who hold or wait, of all locks
inline constexpr std::uint32_t lock_parties_shown_max = 256;
inline constexpr std::uint64_t service_ttl_ms_min = 1'000;
inline constexpr std::uint64_t service_ttl_ms_default = 15'000;
inline constexpr std::uint64_t service_ttl_ms_max = 24ULL * 3600 * 1000;
inline constexpr std::uint32_t service_instances_max = 100'000;  // of all services
inline constexpr std::uint32_t service_metadata_max = 32;        // entries of an instance
inline constexpr std::uint32_t service_metadata_bytes_max = 4096;
inline constexpr std::uint32_t service_watches_per_connection_max = 64;

static_assert(frame_bytes_before_hello_max <= frame_bytes_max &&
              frame_bytes_max <= frame_bytes_cap);
static_assert(ring_points_per_member_max == 4096);
static_assert(headers_bytes_max + 8 * short_text_bytes_max < message_overhead_bytes_max,
              "a message with full properties and the largest payload fits in one frame");

}  // namespace ferry::limits
