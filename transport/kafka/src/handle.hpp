#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "ferry/transport/kafka/settings.hpp"
#include "ferry/transport/message.hpp"

namespace ferry::transport::kafka {

/// A code of Kafka's in our words.
struct Meaning {
    wire::Code code = wire::Code::ok;
    Errc errc = Errc::rejected;
};
[[nodiscard]] Meaning meaning_of(rd_kafka_resp_err_t error);
/// "topic orders: Broker: Message size too large"
[[nodiscard]] std::string text_of(rd_kafka_resp_err_t error, std::string_view about);
[[nodiscard]] ClientError client_error(rd_kafka_resp_err_t error, std::string_view about);

/// What librdkafka tells of itself, and what is made of it. One for each handle; its callbacks'
/// opaque. Threads: any.
class Watch {
public:
    explicit Watch(std::string role) : role_(std::move(role)) {}

    std::function<void(std::string_view)> on_event;
    void say(std::string_view text) const {
        if (on_event) on_event(text);
    }
    /// The JSON of a statistics callback.
    void statistics(std::string_view json);
    void error(rd_kafka_resp_err_t code, std::string_view text);
    [[nodiscard]] std::string last_error() const;
    /// Remembers a topic's number of partitions; a change is told and counted (R16).
    void partitions(const std::string& topic, std::uint32_t count);
    [[nodiscard]] std::uint32_t known_partitions(const std::string& topic) const;
    [[nodiscard]] std::string metrics() const;

    std::atomic<std::uint64_t> sent{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> received{0};
    std::atomic<std::uint64_t> committed{0};
    std::atomic<std::uint64_t> revoked{0};       // partitions that others took over
    std::atomic<std::uint64_t> lost{0};          // deliveries whose partition went
    std::atomic<std::uint64_t> retried{0};       // copies in the retry topic
    std::atomic<std::uint64_t> dead{0};          // copies in the dead-letter topic
    std::atomic<std::uint64_t> assigned{0};      // partitions, now
    std::atomic<std::uint64_t> headers_over{0};  // left out on reading
    std::atomic<std::uint64_t> fenced{0};
    std::atomic<bool> connected{false};

private:
    const std::string role_;
    mutable std::mutex mutex_;
    std::string last_error_;
    std::map<std::string, std::uint32_t> partitions_;
    std::uint64_t partition_changes_ = 0;
    std::uint64_t errors_ = 0;
    std::uint64_t queued_ = 0;
    std::uint64_t queued_bytes_ = 0;
    std::uint64_t bytes_out_ = 0;
    std::uint64_t bytes_in_ = 0;
    std::int64_t lag_ = -1;
};

struct DestroyKafka {
    void operator()(rd_kafka_t* handle) const { rd_kafka_destroy(handle); }
};
struct DestroyConf {
    void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
};
struct DestroyList {
    void operator()(rd_kafka_topic_partition_list_t* list) const {
        rd_kafka_topic_partition_list_destroy(list);
    }
};
struct DestroyQueue {
    void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
};
struct DestroyTopic {
    void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
};
struct DestroyMetadata {
    void operator()(const rd_kafka_metadata_t* metadata) const {
        rd_kafka_metadata_destroy(metadata);
    }
};
struct DestroyError {
    void operator()(rd_kafka_error_t* error) const { rd_kafka_error_destroy(error); }
};
using Kafka = std::unique_ptr<rd_kafka_t, DestroyKafka>;
using Conf = std::unique_ptr<rd_kafka_conf_t, DestroyConf>;
using PartitionList = std::unique_ptr<rd_kafka_topic_partition_list_t, DestroyList>;
using Queue = std::unique_ptr<rd_kafka_queue_t, DestroyQueue>;
using Topic = std::unique_ptr<rd_kafka_topic_t, DestroyTopic>;
using Metadata = std::unique_ptr<const rd_kafka_metadata_t, DestroyMetadata>;
using KafkaError = std::unique_ptr<rd_kafka_error_t, DestroyError>;

/// Settings of a handle, in the order in which they are made; the first failure is kept.
class ConfBuilder {
public:
    ConfBuilder(const Settings& settings, const std::string& name, Watch& watch);
    /// Ours: what the options file says is overruled.
    void set(const char* name, const std::string& value);
    /// A default: the options file may say otherwise.
    void prefer(const char* name, const std::string& value);
    [[nodiscard]] rd_kafka_conf_t* get() const { return conf_.get(); }
    Answer<Kafka> make(rd_kafka_type_t type);

private:
    const Settings& settings_;
    Conf conf_;
    std::string wrong_;
};

/// Waits until a broker has answered. Tells the watch how many partitions the topics have that it
/// knows of, and compares with Settings::partitions.
Answer<Done> greet(rd_kafka_t* handle, const Settings& settings, Watch& watch, int timeout_ms);
/// The number of the topic's partitions. Errors: NO_ROUTE: it is not there, or not for us.
Answer<std::uint32_t> look_at_topic(rd_kafka_t* handle, const Settings& settings, Watch& watch,
                                    const std::string& topic, int timeout_ms);

}  // namespace ferry::transport::kafka
