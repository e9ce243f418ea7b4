#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ferry/wire/message.hpp"

namespace ferry::transport {

/// What the broker said of itself in hello.
struct ServerInfo {
    std::string server;
    std::string log_id;
    std::uint64_t session = 0;
    std::uint64_t heartbeat_ms = 0;
    std::uint64_t frame_bytes_max = 0;
    std::uint64_t payload_bytes_max = 0;
};

struct QueueOptions {
    bool durable = true;
    bool exclusive = false;
    bool auto_delete = false;
    bool passive = false;        // only ask whether it exists
    std::uint64_t lease_ms = 0;  // 0: the broker's default
};

struct DeclaredQueue {
    std::string name;
    std::uint64_t messages = 0;
    std::uint64_t consumers = 0;
};

struct DeleteQueueOptions {
    bool if_unused = false;
    bool if_empty = false;
};

struct QueueInfo {
    std::string name;
    bool durable = false;
    bool exclusive = false;
    bool auto_delete = false;
    std::uint64_t lease_ms = 0;
    std::uint64_t ready = 0;
    std::uint64_t ready_bytes = 0;
    std::uint64_t unacked = 0;
    std::uint64_t consumers = 0;
    std::uint64_t published = 0;
    std::uint64_t delivered = 0;
    std::uint64_t acked = 0;
    std::uint64_t returned = 0;
    std::uint64_t oldest_unacked_ms = 0;
    /// Only from show_queue: every message of the queue below this position is settled, and a crash
    /// of the broker brings none of them back.
    std::uint64_t floor = 0;
};

struct QueuePage {
    std::vector<QueueInfo> queues;  // in order of name
    bool more = false;              // ask again with after = the last name
};

struct PeekedMessage {
    std::uint64_t position = 0;
    std::uint64_t attempt = 0;
    std::uint64_t published_ms = 0;
    wire::Message message;
};

struct ExchangeOptions {
    bool durable = true;
    bool auto_delete = false;
    bool internal = false;
    bool passive = false;
};

/// From exchange `source` to the queue or exchange `destination`.
struct Binding {
    std::string source;
    std::string destination;
    std::string kind = "queue";  // or "exchange"
    std::string key;
    wire::Headers arguments;
};

struct ExchangeInfo {
    std::string name;
    std::string type;
    bool durable = false;
    bool auto_delete = false;
    bool internal = false;
    std::uint64_t binding_count = 0;
    std::vector<Binding> bindings;  // only from show_exchange
};

struct ExchangePage {
    std::vector<ExchangeInfo> exchanges;
    bool more = false;
};

/// Figures of the whole broker. `figures` has every whole number that it sent, by its name in
/// docs/protocol.md.
struct BrokerStats {
    std::string version;
    std::string log_id;
    std::map<std::string, std::uint64_t> figures;

    /// 0 when the broker did not send it.
    [[nodiscard]] std::uint64_t figure(const std::string& name) const {
        const auto found = figures.find(name);
        return found == figures.end() ? 0 : found->second;
    }
};

struct BackupInfo {
    std::uint64_t upto = 0;
    std::uint64_t bytes = 0;
    std::uint64_t files = 0;
};

}  // namespace ferry::transport
