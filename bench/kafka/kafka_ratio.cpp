// What our layers cost over librdkafka's own loops, against the same Kafka with the same settings.
//
//   kafka_ratio URL [COUNT] [ROUNDS] [DIRECTORY] [PARTS]   medians of ROUNDS, raw and ours in turns
//
// PARTS: letters of what to measure, p produce, c consume, r runtime, l relay; all by default. A
// round before the first, with a tenth of COUNT, warms Kafka up and is not counted.
//
// Prints JSON: messages per second of each, and the ratios.

#include <librdkafka/rdkafka.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "ferry/consumer/runtime.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/outbox/relay.hpp"
#include "ferry/transport/kafka/publisher.hpp"
#include "ferry/transport/kafka/settings.hpp"
#include "ferry/transport/kafka/subscription.hpp"

namespace {

using namespace ferry;
namespace kafka = transport::kafka;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t payload_bytes = 100;
const std::string payload(payload_bytes, 'x');

[[noreturn]] void die(const std::string& why) {
    std::fprintf(stderr, "kafka_ratio: %s\n", why.c_str());
    std::exit(1);
}

template <class T>
T must(transport::Answer<T> answer) {
    if (!answer.ok()) die(answer.error().text);
    return std::move(answer).value();
}

rd_kafka_t* handle(rd_kafka_type_t type, const std::map<std::string, std::string>& settings,
                   void (*report)(rd_kafka_t*, const rd_kafka_message_t*, void*)) {
    char why[256];
    rd_kafka_conf_t* const conf = rd_kafka_conf_new();
    for (const auto& [name, value] : settings) {
        if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), why, sizeof why) !=
            RD_KAFKA_CONF_OK) {
            die(why);
        }
    }
    if (report != nullptr) rd_kafka_conf_set_dr_msg_cb(conf, report);
    rd_kafka_t* const made = rd_kafka_new(type, conf, why, sizeof why);
    if (made == nullptr) die(why);
    return made;
}

std::atomic<std::uint64_t> raw_confirmed{0};

double raw_produce(const std::string& brokers, const std::string& topic, std::uint64_t count) {
    raw_confirmed = 0;
    rd_kafka_t* const producer = handle(RD_KAFKA_PRODUCER,
                                        {{"bootstrap.servers", brokers},
                                         {"enable.idempotence", "true"},
                                         {"linger.ms", "2"},
                                         {"partitioner", "murmur2_random"},
                                         {"queue.buffering.max.messages", "65536"},
                                         {"queue.buffering.max.kbytes", "65536"}},
                                        [](rd_kafka_t*, const rd_kafka_message_t* message, void*) {
                                            if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
                                                die("a message was refused");
                                            ++raw_confirmed;
                                        });
    std::atomic<bool> done{false};
    std::thread poller([&] {
        while (!done) rd_kafka_poll(producer, 100);
    });
    const auto began = Clock::now();
    for (std::uint64_t i = 0; i < count; ++i) {
        while (
            rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic.c_str()),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                              RD_KAFKA_V_VALUE(const_cast<char*>(payload.data()), payload.size()),
                              RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            std::this_thread::sleep_for(milliseconds(1));
        }
    }
    while (raw_confirmed < count) std::this_thread::sleep_for(milliseconds(1));
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    done = true;
    poller.join();
    rd_kafka_destroy(producer);
    return static_cast<double>(count) / seconds;
}

double our_produce(const std::string& url, const std::string& topic, std::uint64_t count) {
    kafka::PublisherOptions options;
    options.url = url;
    auto publisher = must(kafka::make_publisher(options));
    const wire::Properties none;
    const auto began = Clock::now();
    for (std::uint64_t i = 0; i < count; ++i) {
        if (!publisher->publish_async("", topic, none, as_bytes(payload), {}).ok()) die("publish");
    }
    if (!publisher->flush(milliseconds(60'000)).ok()) die("flush");
    return static_cast<double>(count) / std::chrono::duration<double>(Clock::now() - began).count();
}

/// From the first message on: joining a group takes as long as it takes. To the last one's commit,
/// as ours: it reads as far ahead, too.
double raw_consume(const std::string& brokers, const std::string& topic, std::uint64_t count) {
    rd_kafka_t* const consumer = handle(RD_KAFKA_CONSUMER,
                                        {{"bootstrap.servers", brokers},
                                         {"group.id", "raw-" + std::to_string(std::rand())},
                                         {"auto.offset.reset", "earliest"},
                                         {"queued.max.messages.kbytes", "32768"},
                                         {"auto.commit.interval.ms", "200"}},
                                        nullptr);
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_topic_partition_list_t* const topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, topic.c_str(), RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(consumer, topics);
    Clock::time_point began;
    std::uint64_t taken = 0;
    while (taken < count) {
        rd_kafka_message_t* const message = rd_kafka_consumer_poll(consumer, 1000);
        if (message == nullptr) continue;
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR && taken++ == 0) began = Clock::now();
        rd_kafka_message_destroy(message);
    }
    const auto committed = rd_kafka_commit(consumer, nullptr, 0);
    if (committed != RD_KAFKA_RESP_ERR_NO_ERROR && committed != RD_KAFKA_RESP_ERR__NO_OFFSET) {
        die(rd_kafka_err2str(committed));
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    rd_kafka_consumer_close(consumer);
    rd_kafka_topic_partition_list_destroy(topics);
    rd_kafka_destroy(consumer);
    return static_cast<double>(count) / seconds;
}

double our_consume(const std::string& url, const std::string& topic, std::uint64_t count) {
    kafka::SubscriptionOptions options;
    options.url = url;
    options.queue = topic;
    options.group = "ours-" + std::to_string(std::rand());
    options.prefetch = 20'000;
    auto reading = must(kafka::subscribe(options));
    Clock::time_point began;
    for (std::uint64_t taken = 0; taken < count;) {
        auto received = reading->next(milliseconds(30'000));
        if (!received.ok()) die("messages stopped coming");
        if (taken++ == 0) began = Clock::now();
        if (!reading->ack(received.value().delivery.tag).ok()) die("ack");
    }
    if (!reading->settle({}, milliseconds(30'000)).ok()) die("settle");
    return static_cast<double>(count) / std::chrono::duration<double>(Clock::now() - began).count();
}

double our_runtime(const std::string& url, const std::string& topic, std::uint64_t count) {
    consumer::BrokerSourceOptions reading;
    reading.queue = topic;
    reading.prefetch = 20'000;
    auto source = must(consumer::open_source(url, "bench", reading, consumer::Duration(30'000)));
    consumer::RuntimeOptions options;
    options.threads = 1;
    options.batch = 500;
    std::atomic<std::uint64_t> handled{0};
    std::atomic<std::int64_t> first{0};
    auto runtime = consumer::Runtime::start_batched(
        std::move(source),
        [&](std::span<const consumer::Incoming> messages, std::span<consumer::Handled>) {
            std::int64_t none = 0;
            first.compare_exchange_strong(none, Clock::now().time_since_epoch().count());
            handled += messages.size();
        },
        options);
    if (!runtime.ok()) die(std::string(runtime.error().what));
    while (runtime.value()->figures().acks_settled < count) {
        std::this_thread::sleep_for(milliseconds(2));
    }
    const auto began = Clock::time_point(Clock::duration(first.load()));
    return static_cast<double>(count) / std::chrono::duration<double>(Clock::now() - began).count();
}

double our_relay(const std::string& url, const std::string& topic, const std::string& directory,
                 std::uint64_t count) {
    const std::string path = directory + "/relay-" + std::to_string(::getpid()) + "-" +
                             std::to_string(std::rand()) + ".db";
    {
        outbox::Options options;
        options.init = true;
        auto box = outbox::Outbox::open(path, options);
        if (!box.ok()) die(box.error().text);
        auto transaction = sqlite::Transaction::begin(box.value().database());
        if (!transaction.ok()) die("begin");
        for (std::uint64_t i = 0; i < count; ++i) {
            outbox::Message message;
            message.routing_key = topic;
            message.payload = as_bytes(payload);
            if (!box.value().enqueue(message).ok()) die("enqueue");
        }
        if (!transaction.value().commit().ok()) die("commit");
    }
    outbox::relay::Options options;
    options.database = path;
    options.url = url;
    options.once = true;
    auto relay = outbox::relay::Relay::start(options);
    if (!relay.ok()) die(relay.error().text);
    while (relay.value()->figures().sent == 0) std::this_thread::sleep_for(milliseconds(1));
    const auto began = Clock::now();
    while (relay.value()->figures().sent < count) std::this_thread::sleep_for(milliseconds(1));
    const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
    relay.value()->wait_ended(milliseconds(60'000));
    relay.value().reset();
    for (const char* const end : {"", "-wal", "-shm"}) ::unlink((path + end).c_str());
    return static_cast<double>(count) / seconds;
}

double median(std::vector<double> all) {
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) die("give kafka://HOST:PORT");
    std::srand(static_cast<unsigned>(::getpid()));
    const std::string url = argv[1];
    const std::uint64_t count = argc > 2 ? std::stoull(argv[2]) : 500'000;
    const int rounds = argc > 3 ? std::atoi(argv[3]) : 3;
    const std::string directory = argc > 4 ? argv[4] : "/tmp";
    const std::string brokers = must(kafka::read_url(url)).brokers;
    std::map<std::string, std::vector<double>> seen;
    std::vector<std::string> topics;
    const std::string parts = argc > 5 ? argv[5] : "pcrl";
    const auto wanted = [&](char part) { return parts.find(part) != std::string::npos; };
    for (int round = -1; round < rounds; ++round) {
        const std::string tail = std::to_string(::getpid()) + "-" + std::to_string(round + 1);
        const std::vector<std::string> now{"raw-" + tail, "our-" + tail, "relay-" + tail};
        const std::uint64_t some = round < 0 ? count / 10 : count;
        must(kafka::make_topics(url, now, {3, 1}));
        topics.insert(topics.end(), now.begin(), now.end());
        const auto note = [&](const char* what, double rate) {
            if (round >= 0) seen[what].push_back(rate);
        };
        if (wanted('p')) note("raw_produce", raw_produce(brokers, now[0], some));
        note("our_produce", our_produce(url, now[1], some));
        note("raw_consume", raw_consume(brokers, now[1], some));
        if (wanted('c')) note("our_consume", our_consume(url, now[1], some));
        if (wanted('r')) note("our_runtime", our_runtime(url, now[1], some));
        if (wanted('l')) note("our_relay", our_relay(url, now[2], directory, some));
    }
    std::map<std::string, double> rate;
    for (const auto& [name, all] : seen) rate[name] = median(all);
    std::printf("{\"count\": %llu, \"payload\": %zu", static_cast<unsigned long long>(count),
                payload_bytes);
    for (const auto& [name, value] : rate)
        std::printf(", \"%s_msgs_s\": %.0f", name.c_str(), value);
    const auto ratio = [&](const char* ours, const char* raw, const char* name) {
        if (rate.contains(ours) && rate.contains(raw))
            std::printf(", \"%s_ratio\": %.2f", name, rate[ours] / rate[raw]);
    };
    ratio("our_produce", "raw_produce", "produce");
    ratio("our_consume", "raw_consume", "consume");
    ratio("our_runtime", "raw_consume", "runtime");
    std::printf("}\n");
    kafka::drop_topics(url, topics).ignore("topics that are left over are harmless");
    return 0;
}
