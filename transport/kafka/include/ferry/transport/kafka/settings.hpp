#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ferry/transport/error.hpp"

namespace ferry::transport::kafka {

/// docs/kafka.md shows the same table.
namespace limits {
inline constexpr std::uint32_t options_file_bytes_max = 64U << 10;
inline constexpr std::uint32_t topic_bytes_max = 249;         // Kafka's own
inline constexpr std::uint32_t partitions_max = 65'535;       // of one topic
inline constexpr std::uint32_t settled_ahead_max = 20'000;    // acked behind an open message
inline constexpr std::uint32_t retry_waiting_max = 10'000;    // in memory until they are due
inline constexpr std::uint32_t record_bytes_max = 64U << 20;  // what a consumer takes
}  // namespace limits

/// How to reach a Kafka cluster, and what its topics are called.
struct Settings {
    std::string brokers;  // host:port,host:port
    /// By librdkafka's names, those that docs/kafka.md lists; from the options file.
    std::vector<std::pair<std::string, std::string>> properties;
    std::map<std::string, std::string> topics;  // exchange or queue: topic; others: their own name
    std::map<std::string, std::uint32_t> partitions;  // topic: so many, or nothing starts (R16)
    std::string transactional_id;                     // of a Transformer; empty: a random one

    [[nodiscard]] const std::string& topic_of(const std::string& name) const;
};

/// The URL begins with kafka://.
[[nodiscard]] bool is_kafka_url(std::string_view url);

/// Reads `kafka://HOST[:PORT],HOST[:PORT]…[?options=FILE]`; the port is 9092 unless given. The file
/// has lines `name = value`, and # before comments; secrets stand in it, never in the URL.
///
/// Blocking  Reads the file.
/// Errors    rejected: no such form, an unknown name, or a file with a secret that others may
///           read. The text says which.
[[nodiscard]] Answer<Settings> read_url(std::string_view url);

/// Makes topics that are missing; those that exist stay as they are. Returns how many were made.
///
/// Errors    unreachable; refused with the topic's name.
struct TopicOptions {
    std::uint32_t partitions = 6;
    std::uint16_t replicas = 1;
};
[[nodiscard]] Answer<std::uint32_t> make_topics(const std::string& url,
                                                const std::vector<std::string>& names,
                                                const TopicOptions& options = {});

/// Deletes topics with all that is in them; those that are not there are passed over.
[[nodiscard]] Answer<Done> drop_topics(const std::string& url,
                                       const std::vector<std::string>& names);

}  // namespace ferry::transport::kafka
