#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "ferry/transport/kafka/settings.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

namespace kafka = transport::kafka;

struct Options {
    std::vector<std::string> names;
    kafka::TopicOptions topic;
};

int run(const Context& context, const Options& options) {
    const auto made = kafka::make_topics(context.url, options.names, options.topic);
    if (!made.ok()) return fail(made.error());
    if (context.json) {
        print_json({{"made", made.value()}, {"asked", options.names.size()}});
    } else {
        std::fprintf(stderr, "%u topics made, %zu were there\n", made.value(),
                     options.names.size() - made.value());
    }
    return exit_done;
}

}  // namespace

void add_topic(Command& app, Context& context) {
    Command* topic = app.add_subcommand("topic", "Topics of Kafka (--url kafka://HOST:PORT)");
    topic->require_subcommand(1);
    auto options = std::make_shared<Options>();
    Command* declare = topic->add_subcommand("declare", "Make topics that are missing");
    declare->add_option("name", options->names, "The topics")->required();
    declare
        ->add_option("--partitions", options->topic.partitions,
                     "So many may be read at a time; changing it later breaks the order of keys")
        ->range(1, kafka::limits::partitions_max)
        ->capture_default_str();
    declare->add_option("--replicas", options->topic.replicas, "On so many brokers")
        ->range(1, 100)
        ->capture_default_str();
    declare->footer(examples({"ferry topic declare orders --url kafka://host:9092",
                              "ferry topic declare orders orders.dead --partitions 12 --replicas 3 "
                              "--url kafka://host:9092"}));
    declare->callback([&context, options] {
        context.run = [&context, options] {
            if (!kafka::is_kafka_url(context.url)) {
                return fail(exit_usage, "topics are Kafka's: give --url kafka://HOST:PORT");
            }
            return run(context, *options);
        };
    });
}

}  // namespace ferry::cli
