#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ferry/engine/types.hpp"
#include "ferry/log/commit_log.hpp"
#include "ferry/platform/spin.hpp"
#include "ferry/secure/tls.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::server {

/// A numeric address to listen on.
struct Address {
    std::string host;        // IPv4 or IPv6, numeric, without brackets
    std::uint16_t port = 0;  // 0: the system chooses one; the ready line tells which
    bool operator==(const Address&) const = default;
};

enum class LogLevel : std::uint8_t { trace, debug, info, warn, error, off };

/// Everything an operator may set. Whoever fills it has checked every range (broker/main does, from
/// flags and config/ferryd.toml, where each key is described); the server trusts it.
struct BrokerConfig {
    BrokerConfig() {
        log.scrub_bytes_per_second = 4ULL << 20;
        log.low_water_bytes = 1ULL << 30;
    }

    std::string data_dir = "./data";                // data.dir; created (0700) if missing
    log::Options log;                               // data.durability, .interval, .low_water, log.*
    std::uint64_t checkpoint_bytes = 128ULL << 20;  // log.checkpoint_bytes: log written between two

    Address listen{"127.0.0.1", 7420};                 // listen.address
    std::optional<Address> http{{"127.0.0.1", 7421}};  // http.address; empty: no HTTP

    secure::ServerFiles tls;         // tls.certificate, .key, .client_ca, .client_certificates
    std::string users_file;          // auth.users; empty: nobody signs in
    bool certificate_users = false;  // auth.certificates: a certificate's name is a user's
    std::string audit_file;          // audit.file; empty: only failures, in the log

    std::uint32_t connections_max = 10'000;                   // limits.connections
    std::uint32_t connections_per_second = 2'000;             // limits.connections_per_second
    std::uint32_t frame_bytes_max = limits::frame_bytes_max;  // limits.frame_bytes
    std::uint64_t output_bytes_max = 8ULL << 20;              // limits.output_bytes, per connection
    std::uint64_t memory_bytes_max = 0;  // limits.memory; 0: three quarters of what there is
    std::uint64_t pending_bytes_max = 16ULL << 20;       // limits.pending_bytes: unsynced log
    std::uint32_t connection_unconfirmed_max = 262'144;  // limits.connection_unconfirmed, messages

    std::uint32_t heartbeat_ms = 30'000;                // heartbeat.interval, offered in hello
    std::uint64_t lease_ms = limits::lease_ms_default;  // queue.lease
    std::uint32_t drain_ms = 10'000;                    // server.drain, after SIGTERM
    std::uint32_t spin_us = Spin::limit_us_default;     // server.spin_us
    std::uint32_t metrics_queues_max = 200;             // metrics.queues_max
    LogLevel log_level = LogLevel::info;                // log.level
    std::vector<engine::NamedPolicy> policies;          // [[policy]]

    [[nodiscard]] bool encrypted() const { return !tls.certificate.empty(); }
    [[nodiscard]] std::uint32_t payload_bytes_max() const {
        return frame_bytes_max - limits::message_overhead_bytes_max;
    }
};

}  // namespace ferry::server
