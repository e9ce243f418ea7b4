// What the tests on a real Kafka need beside `ferry`.
//
//   kafka_program transform URL FROM TO ID COUNT   each message of FROM to TO in capitals, exactly
//                                                  once; prints what it took after each transaction
//   kafka_program grow URL TOPIC PARTITIONS        gives a topic more partitions
//   kafka_program slow URL QUEUE MS                consumes, MS for each message; prints each when
//                                                  it was acked
//   kafka_program watch URL QUEUE                  consumes nothing, prints what it is told

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <cctype>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "ferry/consumer/runtime.hpp"
#include "ferry/transport/kafka/settings.hpp"
#include "ferry/transport/kafka/subscription.hpp"
#include "ferry/transport/kafka/transformer.hpp"

namespace {

using namespace ferry;
namespace kafka = transport::kafka;
using std::chrono::milliseconds;

std::atomic<bool> asked_to_stop{false};

int die(const std::string& why) {
    std::fprintf(stderr, "kafka_program: %s\n", why.c_str());
    return 1;
}

void say(const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
}

int transform(const std::vector<std::string>& a) {
    kafka::TransformerOptions options;
    options.url = a[1];
    options.from = a[2];
    options.transactional_id = a[4];
    options.batch_messages = 50;
    auto made = kafka::make_transformer(options);
    if (!made.ok()) return die(made.error().text);
    say("ready");
    const std::uint64_t wanted = std::stoull(a[5]);
    std::uint64_t taken = 0;
    while (taken < wanted && !asked_to_stop) {
        const auto turned = made.value()->turn(
            [&](const transport::Delivery& delivery, std::vector<transport::Message>& out) {
                transport::Message next;
                next.routing_key = a[3];
                next.payload = std::string(as_text(delivery.message.payload));
                for (char& c : next.payload) {
                    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
                }
                out.push_back(next);
                return true;
            },
            milliseconds(200));
        if (turned.ok()) {
            taken += turned.value();
            if (turned.value() > 0) say(std::to_string(taken));
            continue;
        }
        if (turned.error().wire_code == wire::Code::fenced) {
            say("FENCED: " + turned.error().text);
            return 3;
        }
        std::fprintf(stderr, "again: %s\n", turned.error().text.c_str());
    }
    return 0;
}

int grow(const std::vector<std::string>& a) {
    char why[256];
    rd_kafka_conf_t* const conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", kafka::read_url(a[1]).value().brokers.c_str(), why,
                      sizeof why);
    rd_kafka_t* const handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    rd_kafka_NewPartitions_t* wanted =
        rd_kafka_NewPartitions_new(a[2].c_str(), std::stoul(a[3]), why, sizeof why);
    rd_kafka_queue_t* const queue = rd_kafka_queue_new(handle);
    rd_kafka_CreatePartitions(handle, &wanted, 1, nullptr, queue);
    rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, 20'000);
    const bool done = event != nullptr && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (event != nullptr) rd_kafka_event_destroy(event);
    rd_kafka_NewPartitions_destroy(wanted);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(handle);
    return done ? 0 : die("the partitions were not made");
}

int slow(const std::vector<std::string>& a) {
    consumer::BrokerSourceOptions reading;
    reading.queue = a[2];
    auto source = consumer::open_source(a[1], "slow", reading, consumer::Duration(20'000));
    if (!source.ok()) return die(source.error().text);
    const milliseconds pause(std::stoi(a[3]));
    consumer::RuntimeOptions options;
    options.name = "slow";
    options.threads = 4;
    options.on_event = [](std::string_view text) {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
    };
    auto runtime = consumer::Runtime::start(
        std::move(source).value(),
        [&](const consumer::Incoming& message) {
            std::this_thread::sleep_for(pause);
            say(std::string(message.payload()));
            return consumer::Handled::done();
        },
        options);
    if (!runtime.ok()) return die(std::string(runtime.error().what));
    while (!asked_to_stop && !runtime.value()->ended()) {
        std::this_thread::sleep_for(milliseconds(20));
    }
    static_cast<void>(runtime.value()->stop(consumer::Duration(20'000)));
    return 0;
}

int watch(const std::vector<std::string>& a) {
    kafka::SubscriptionOptions options;
    options.url = a[1];
    options.queue = a[2];
    options.on_event = [](std::string_view text) { say(std::string(text)); };
    auto made = kafka::subscribe(std::move(options));
    if (!made.ok()) return die(made.error().text);
    say("place " + made.value()->place());
    while (!asked_to_stop) std::this_thread::sleep_for(milliseconds(20));
    say("place " + made.value()->place());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGTERM, [](int) { asked_to_stop = true; });
    const std::vector<std::string> a(argv + 1, argv + argc);
    if (a.size() == 6 && a[0] == "transform") return transform(a);
    if (a.size() == 4 && a[0] == "grow") return grow(a);
    if (a.size() == 4 && a[0] == "slow") return slow(a);
    if (a.size() == 3 && a[0] == "watch") return watch(a);
    return die("see the head of kafka_program.cpp");
}
