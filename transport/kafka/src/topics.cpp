#include <array>

#include "ferry/wire/message.hpp"
#include "handle.hpp"

namespace ferry::transport::kafka {
namespace {

constexpr int admin_wait_ms = 15'000;

struct DestroyNewTopic {
    void operator()(rd_kafka_NewTopic_t* topic) const { rd_kafka_NewTopic_destroy(topic); }
};
struct DestroyDeleteTopic {
    void operator()(rd_kafka_DeleteTopic_t* topic) const { rd_kafka_DeleteTopic_destroy(topic); }
};
struct DestroyEvent {
    void operator()(rd_kafka_event_t* event) const { rd_kafka_event_destroy(event); }
};
struct DestroyAdminOptions {
    void operator()(rd_kafka_AdminOptions_t* options) const {
        rd_kafka_AdminOptions_destroy(options);
    }
};

}  // namespace

Answer<std::uint32_t> make_topics(const std::string& url, const std::vector<std::string>& names,
                                  const TopicOptions& options) {
    auto settings = read_url(url);
    if (!settings.ok()) return settings.error();
    Watch watch("admin");
    ConfBuilder conf(settings.value(), "ferry-admin", watch);
    auto made = conf.make(RD_KAFKA_PRODUCER);
    if (!made.ok()) return made.error();
    const Kafka handle = std::move(made).value();
    auto greeted = greet(handle.get(), settings.value(), watch, admin_wait_ms);
    if (!greeted.ok()) return greeted.error();
    std::vector<std::unique_ptr<rd_kafka_NewTopic_t, DestroyNewTopic>> topics;
    std::vector<rd_kafka_NewTopic_t*> wanted;
    std::array<char, 256> why{};
    for (const std::string& name : names) {
        const std::string& topic = settings.value().topic_of(name);
        if (!wire::valid_name(topic) || topic.size() > limits::topic_bytes_max) {
            return ClientError{Errc::rejected, wire::Code::bad_name,
                               "\"" + topic +
                                   "\" is not a topic's name: use 1 to 249 of a-z A-Z "
                                   "0-9 . _ -"};
        }
        topics.emplace_back(rd_kafka_NewTopic_new(topic.c_str(),
                                                  static_cast<int>(options.partitions),
                                                  options.replicas, why.data(), why.size()));
        if (!topics.back()) return ClientError{Errc::rejected, wire::Code::bad_option, why.data()};
        wanted.push_back(topics.back().get());
    }
    if (wanted.empty()) return std::uint32_t{0};
    const std::unique_ptr<rd_kafka_AdminOptions_t, DestroyAdminOptions> admin(
        rd_kafka_AdminOptions_new(handle.get(), RD_KAFKA_ADMIN_OP_CREATETOPICS));
    rd_kafka_AdminOptions_set_operation_timeout(admin.get(), admin_wait_ms, why.data(), why.size());
    const Queue queue(rd_kafka_queue_new(handle.get()));
    rd_kafka_CreateTopics(handle.get(), wanted.data(), wanted.size(), admin.get(), queue.get());
    const std::unique_ptr<rd_kafka_event_t, DestroyEvent> event(
        rd_kafka_queue_poll(queue.get(), 2 * admin_wait_ms));
    if (!event) return client_error(RD_KAFKA_RESP_ERR__TIMED_OUT, "making topics");
    if (rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return client_error(rd_kafka_event_error(event.get()), "making topics");
    }
    std::size_t count = 0;
    const rd_kafka_topic_result_t** const results = rd_kafka_CreateTopics_result_topics(
        rd_kafka_event_CreateTopics_result(event.get()), &count);
    std::uint32_t made_now = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const auto error = rd_kafka_topic_result_error(results[i]);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
            ++made_now;
        } else if (error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
            return client_error(error,
                                std::string("topic ") + rd_kafka_topic_result_name(results[i]));
        }
    }
    return made_now;
}

Answer<Done> drop_topics(const std::string& url, const std::vector<std::string>& names) {
    auto settings = read_url(url);
    if (!settings.ok()) return settings.error();
    Watch watch("admin");
    ConfBuilder conf(settings.value(), "ferry-admin", watch);
    auto made = conf.make(RD_KAFKA_PRODUCER);
    if (!made.ok()) return made.error();
    const Kafka handle = std::move(made).value();
    auto greeted = greet(handle.get(), settings.value(), watch, admin_wait_ms);
    if (!greeted.ok()) return greeted.error();
    std::vector<std::unique_ptr<rd_kafka_DeleteTopic_t, DestroyDeleteTopic>> topics;
    std::vector<rd_kafka_DeleteTopic_t*> wanted;
    for (const std::string& name : names) {
        topics.emplace_back(rd_kafka_DeleteTopic_new(settings.value().topic_of(name).c_str()));
        wanted.push_back(topics.back().get());
    }
    if (wanted.empty()) return Done{};
    const Queue queue(rd_kafka_queue_new(handle.get()));
    rd_kafka_DeleteTopics(handle.get(), wanted.data(), wanted.size(), nullptr, queue.get());
    const std::unique_ptr<rd_kafka_event_t, DestroyEvent> event(
        rd_kafka_queue_poll(queue.get(), 2 * admin_wait_ms));
    if (!event) return client_error(RD_KAFKA_RESP_ERR__TIMED_OUT, "deleting topics");
    if (rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return client_error(rd_kafka_event_error(event.get()), "deleting topics");
    }
    return Done{};
}

}  // namespace ferry::transport::kafka
