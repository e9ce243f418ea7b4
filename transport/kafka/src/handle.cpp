#include "handle.hpp"

#include <algorithm>
#include <array>
#include <chrono>

namespace ferry::transport::kafka {
namespace {

constexpr const char* statistics_every_ms = "2000";

void on_error(rd_kafka_t* handle, int code, const char* reason, void* opaque) {
    auto& watch = *static_cast<Watch*>(opaque);
    auto error = static_cast<rd_kafka_resp_err_t>(code);
    std::string text = reason == nullptr ? std::string() : std::string(reason);
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
        std::array<char, 512> why{};
        error = rd_kafka_fatal_error(handle, why.data(), why.size());
        text = why.data();
    }
    watch.error(error, text);
}

int on_statistics(rd_kafka_t* /*handle*/, char* json, std::size_t bytes, void* opaque) {
    static_cast<Watch*>(opaque)->statistics({json, bytes});
    return 0;
}

void on_log(const rd_kafka_t* handle, int level, const char* /*facility*/, const char* text) {
    // Errors come by on_error; of the rest only what is critical.
    const auto* const watch = static_cast<const Watch*>(rd_kafka_opaque(handle));
    if (watch != nullptr && level <= 2) watch->say(text);
}

}  // namespace

Meaning meaning_of(rd_kafka_resp_err_t error) {
    switch (error) {
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return {wire::Code::no_route, Errc::not_found};
        case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
            return {wire::Code::bad_name, Errc::rejected};
        case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
            return {wire::Code::message_too_large, Errc::rejected};
        case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
            return {wire::Code::storage_failed, Errc::io_failed};
        case RD_KAFKA_RESP_ERR__FENCED:
        case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
        case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
            return {wire::Code::fenced, Errc::conflict};
        case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
        case RD_KAFKA_RESP_ERR__TIMED_OUT:
        case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
        case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
            return {wire::Code::timed_out, Errc::indeterminate};
        case RD_KAFKA_RESP_ERR__TRANSPORT:
        case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        case RD_KAFKA_RESP_ERR__RESOLVE:
            return {wire::Code::ok, Errc::unreachable};
        case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
        case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
        case RD_KAFKA_RESP_ERR__DESTROY:
        case RD_KAFKA_RESP_ERR__FATAL:
            return {wire::Code::shutting_down, Errc::indeterminate};
        case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
            return {wire::Code::bad_option, Errc::rejected};
        default:
            return {wire::Code::internal, Errc::rejected};
    }
}

std::string text_of(rd_kafka_resp_err_t error, std::string_view about) {
    std::string text(about);
    if (!text.empty()) text += ": ";
    if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
        error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
        error == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
        error == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED) {
        return text + "not allowed by Kafka's access control (" + rd_kafka_err2str(error) + ")";
    }
    return text + rd_kafka_err2str(error);
}

ClientError client_error(rd_kafka_resp_err_t error, std::string_view about) {
    const Meaning meaning = meaning_of(error);
    return {meaning.errc, meaning.code, text_of(error, about)};
}

ConfBuilder::ConfBuilder(const Settings& settings, const std::string& name, Watch& watch)
    : settings_(settings), conf_(rd_kafka_conf_new()) {
    rd_kafka_conf_set_opaque(conf_.get(), &watch);
    rd_kafka_conf_set_error_cb(conf_.get(), on_error);
    rd_kafka_conf_set_stats_cb(conf_.get(), on_statistics);
    rd_kafka_conf_set_log_cb(conf_.get(), on_log);
    set("client.id", name);
    // A new leader is found soon, and a new partition is noticed (R16).
    set("topic.metadata.refresh.interval.ms", "30000");
    set("topic.metadata.propagation.max.ms", "5000");
    set("reconnect.backoff.max.ms", "2000");
    set("log.connection.close", "false");
    for (const auto& [key, value] : settings.properties) set(key.c_str(), value);
    set("bootstrap.servers", settings.brokers);
    set("statistics.interval.ms", statistics_every_ms);
}

void ConfBuilder::set(const char* name, const std::string& value) {
    std::array<char, 256> why{};
    const auto done = rd_kafka_conf_set(conf_.get(), name, value.c_str(), why.data(), why.size());
    if (done != RD_KAFKA_CONF_OK && wrong_.empty()) wrong_ = why.data();
}

void ConfBuilder::prefer(const char* name, const std::string& value) {
    const auto& given = settings_.properties;
    const bool there = std::any_of(given.begin(), given.end(),
                                   [&](const auto& property) { return property.first == name; });
    if (!there) set(name, value);
}

Answer<Kafka> ConfBuilder::make(rd_kafka_type_t type) {
    if (!wrong_.empty()) return ClientError{Errc::rejected, wire::Code::ok, wrong_};
    std::array<char, 256> why{};
    Kafka handle(rd_kafka_new(type, conf_.get(), why.data(), why.size()));
    if (!handle) return ClientError{Errc::rejected, wire::Code::ok, why.data()};
    [[maybe_unused]] rd_kafka_conf_t* const taken = conf_.release();  // it is the handle's now
    return handle;
}

namespace {

Answer<std::uint32_t> count_partitions(const rd_kafka_metadata_topic_t& topic,
                                       const Settings& settings, Watch& watch) {
    const std::string name = topic.topic;
    if (topic.err != RD_KAFKA_RESP_ERR_NO_ERROR) return client_error(topic.err, "topic " + name);
    const auto count = static_cast<std::uint32_t>(std::max(topic.partition_cnt, 0));
    const auto wanted = settings.partitions.find(name);
    if (wanted != settings.partitions.end() && wanted->second != count) {
        return ClientError{Errc::conflict, wire::Code::declared_differently,
                           "topic " + name + " has " + std::to_string(count) +
                               " partitions, the options file wants " +
                               std::to_string(wanted->second) +
                               ": another number breaks the order of keys"};
    }
    watch.partitions(name, count);
    return count;
}

}  // namespace

Answer<Done> greet(rd_kafka_t* handle, const Settings& settings, Watch& watch, int timeout_ms) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (;;) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0) break;
        const rd_kafka_metadata_t* found = nullptr;
        // Short turns: what went wrong meanwhile (a password, a certificate) ends the wait.
        error = rd_kafka_metadata(handle, 1, nullptr, &found,
                                  static_cast<int>(std::min<std::int64_t>(left, 500)));
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            const Metadata metadata(found);
            for (int i = 0; i < metadata->topic_cnt; ++i) {
                if (!settings.partitions.contains(metadata->topics[i].topic)) continue;
                auto counted = count_partitions(metadata->topics[i], settings, watch);
                if (!counted.ok()) return counted.error();
            }
            watch.connected = true;
            return Done{};
        }
        rd_kafka_poll(handle, 0);
    }
    const std::string why = watch.last_error();
    return ClientError{Errc::unreachable, wire::Code::ok,
                       "no Kafka broker of " + settings.brokers + " answered in " +
                           std::to_string(timeout_ms) + " ms (" +
                           (why.empty() ? std::string(rd_kafka_err2str(error)) : why) + ")"};
}

Answer<std::uint32_t> look_at_topic(rd_kafka_t* handle, const Settings& settings, Watch& watch,
                                    const std::string& topic, int timeout_ms) {
    const Topic object(rd_kafka_topic_new(handle, topic.c_str(), nullptr));
    if (!object) return client_error(rd_kafka_last_error(), "topic " + topic);
    const rd_kafka_metadata_t* found = nullptr;
    const auto error = rd_kafka_metadata(handle, 0, object.get(), &found, timeout_ms);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return client_error(error, "topic " + topic);
    const Metadata metadata(found);
    if (metadata->topic_cnt < 1) {
        return client_error(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "topic " + topic);
    }
    return count_partitions(metadata->topics[0], settings, watch);
}

}  // namespace ferry::transport::kafka
