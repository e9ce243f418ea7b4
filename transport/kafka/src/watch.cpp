#include <algorithm>

#include <nlohmann/json.hpp>

#include "handle.hpp"

namespace ferry::transport::kafka {
namespace {

using Json = nlohmann::json;

std::uint64_t number(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_number_integer()) return 0;
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, found->get<std::int64_t>()));
}

}  // namespace

void Watch::statistics(std::string_view json) {
    const Json all = Json::parse(json, nullptr, false);
    if (!all.is_object()) return;
    std::int64_t lag = -1;
    std::map<std::string, std::uint32_t> counted;
    const auto topics = all.find("topics");
    if (topics != all.end() && topics->is_object()) {
        for (const auto& [name, topic] : topics->items()) {
            const auto partitions = topic.find("partitions");
            if (partitions == topic.end() || !partitions->is_object()) continue;
            for (const auto& [id, partition] : partitions->items()) {
                if (id == "-1") continue;
                if (const auto unknown = partition.find("unknown");
                    unknown != partition.end() && unknown->is_boolean() && unknown->get<bool>()) {
                    continue;
                }
                ++counted[name];
                const auto found = partition.find("consumer_lag");
                if (found != partition.end() && found->is_number_integer() &&
                    found->get<std::int64_t>() >= 0) {
                    lag = std::max<std::int64_t>(lag, 0) + found->get<std::int64_t>();
                }
            }
        }
    }
    const auto brokers = all.find("brokers");
    if (brokers != all.end() && brokers->is_object()) {
        connected = std::any_of(brokers->begin(), brokers->end(), [](const Json& broker) {
            const auto state = broker.find("state");
            return state != broker.end() && *state == "UP";
        });
    }
    {
        const std::scoped_lock lock(mutex_);
        queued_ = number(all, "msg_cnt");
        queued_bytes_ = number(all, "msg_size");
        bytes_out_ = number(all, "tx_bytes");
        bytes_in_ = number(all, "rx_bytes");
        lag_ = lag;
    }
    for (const auto& [name, count] : counted) partitions(name, count);
}

void Watch::error(rd_kafka_resp_err_t code, std::string_view text) {
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) connected = false;
    if (code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED) ++fenced;
    std::string line = std::string(rd_kafka_err2name(code)) + ": " + std::string(text);
    {
        const std::scoped_lock lock(mutex_);
        ++errors_;
        if (line == last_error_) return;  // an outage says the same again and again
        last_error_ = line;
    }
    say("Kafka: " + line);
}

std::string Watch::last_error() const {
    const std::scoped_lock lock(mutex_);
    return last_error_;
}

void Watch::partitions(const std::string& topic, std::uint32_t count) {
    std::uint32_t before = 0;
    {
        const std::scoped_lock lock(mutex_);
        const auto [at, fresh] = partitions_.emplace(topic, count);
        if (fresh || at->second == count || count == 0) return;
        before = at->second;
        // While a client starts, it learns of them one after another.
        if (before == 0) {
            at->second = count;
            return;
        }
        at->second = count;
        ++partition_changes_;
    }
    say("topic " + topic + " has " + std::to_string(count) + " partitions now, it had " +
        std::to_string(before) +
        ": messages of one key may lie in two partitions, their order is not kept across the "
        "change");
}

std::uint32_t Watch::known_partitions(const std::string& topic) const {
    const std::scoped_lock lock(mutex_);
    const auto found = partitions_.find(topic);
    return found == partitions_.end() ? 0 : found->second;
}

std::string Watch::metrics() const {
    std::string out;
    const auto add = [&](const char* name, const char* type, const char* help, auto value) {
        const std::string full = std::string("ferry_kafka_") + name;
        out += "# HELP " + full + ' ' + help + "\n# TYPE " + full + ' ' + type + '\n' + full +
               "{client=\"" + role_ + "\"} " + std::to_string(value) + '\n';
    };
    const auto total = [&](const char* name, const char* help, std::uint64_t value) {
        add(name, "counter", help, value);
    };
    const std::scoped_lock lock(mutex_);
    add("connected", "gauge", "1 while a broker of the cluster answers", connected ? 1 : 0);
    total("sent_total", "messages that Kafka confirmed", sent);
    total("refused_total", "messages that Kafka refused", refused);
    total("received_total", "messages that came", received);
    total("commits_total", "commits of offsets that Kafka took", committed);
    total("revoked_partitions_total", "partitions that other consumers took over", revoked);
    total("deliveries_lost_total", "deliveries whose partition went before their ack", lost);
    total("retried_total", "messages put into the retry topic", retried);
    total("dead_lettered_total", "messages put into the dead-letter topic", dead);
    total("headers_dropped_total", "headers of received messages over our limits", headers_over);
    total("fenced_total", "times that Kafka fenced this producer", fenced);
    total("errors_total", "errors that librdkafka told", errors_);
    total("partition_changes_total", "topics that got another number of partitions",
          partition_changes_);
    total("tx_bytes_total", "bytes sent to Kafka", bytes_out_);
    total("rx_bytes_total", "bytes received from Kafka", bytes_in_);
    add("assigned_partitions", "gauge", "partitions that come here", assigned.load());
    add("queued_messages", "gauge", "messages that wait to be confirmed", queued_);
    add("queued_bytes", "gauge", "their bytes", queued_bytes_);
    add("lag_messages", "gauge", "messages behind the committed offset, -1: not known", lag_);
    return out;
}

}  // namespace ferry::transport::kafka
