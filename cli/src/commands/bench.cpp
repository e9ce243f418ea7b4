#include "bench/bench.hpp"

#include <cstdio>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

double microseconds(std::uint64_t ns) {
    return static_cast<double>(ns) / 1000.0;
}

Json latency_json(const std::optional<bench::Histogram>& latency) {
    if (!latency) return nullptr;
    return {{"p50", microseconds(latency->percentile(0.5))},
            {"p99", microseconds(latency->percentile(0.99))},
            {"p999", microseconds(latency->percentile(0.999))},
            {"max", microseconds(latency->max())}};
}

double per_second(double amount, double seconds) {
    return seconds > 0 ? amount / seconds : 0;
}

Json outcome_json(const bench::Settings& settings, const bench::Outcome& outcome) {
    const double messages = static_cast<double>(outcome.messages);
    Json out{{"mode", settings.mode},
             {"count", settings.count},
             {"size", settings.size},
             {"window", settings.mode == "ping" ? 1 : settings.window},
             {"batch", settings.batch},
             {"prefetch", settings.prefetch},
             {"queues", settings.queues},
             {"keys", settings.keys},
             {"ordered", settings.ordered},
             {"consumers", settings.consumers},
             {"seconds", outcome.seconds},
             {"msgs_s", per_second(messages, outcome.seconds)},
             {"mb_s", per_second(messages * settings.size / 1e6, outcome.seconds)},
             {"confirm_us", latency_json(outcome.confirm)},
             {"deliver_us", latency_json(outcome.deliver)},
             {"client_cpu_s", outcome.client_cpu_s},
             {"server_cpu_s", nullptr},
             {"fsyncs", outcome.fsyncs}};
    if (outcome.server_cpu_s) out["server_cpu_s"] = *outcome.server_cpu_s;
    return out;
}

void print_latency(const char* name, const std::optional<bench::Histogram>& latency) {
    if (!latency) return;
    std::printf("%-9s p50 %.0f us, p99 %.0f us, p999 %.0f us, max %.0f us\n", name,
                microseconds(latency->percentile(0.5)), microseconds(latency->percentile(0.99)),
                microseconds(latency->percentile(0.999)), microseconds(latency->max()));
}

void print_outcome(const bench::Settings& settings, const bench::Outcome& outcome) {
    const double rate = per_second(static_cast<double>(outcome.messages), outcome.seconds);
    std::printf("%s: %s messages of %u bytes in %.3f s: %s messages/s, %.1f MB/s\n",
                settings.mode.c_str(), with_commas(outcome.messages).c_str(), settings.size,
                outcome.seconds, with_commas(static_cast<std::uint64_t>(rate)).c_str(),
                rate * settings.size / 1e6);
    print_latency("confirm", outcome.confirm);
    print_latency("delivery", outcome.deliver);
    std::printf("client CPU %.2f s", outcome.client_cpu_s);
    if (outcome.server_cpu_s) std::printf(", broker CPU %.2f s", *outcome.server_cpu_s);
    std::printf(", %s fsyncs\n", with_commas(outcome.fsyncs).c_str());
}

struct Options {
    bench::Settings settings;
    std::string size = "100";
    std::uint64_t count = 0;
};

int run_bench(const Context& context, const Options& options) {
    bench::Settings settings = options.settings;
    const std::uint64_t size = *parse_size(options.size);
    if (size < 1 || size > (2U << 20)) return fail(exit_usage, "--size is 1 byte to 2 MiB");
    if (settings.mode == "e2e" && size < 8) {
        return fail(exit_usage,
                    "--mode e2e needs --size 8 or more: the send time is in the payload");
    }
    settings.size = static_cast<std::uint32_t>(size);
    settings.count = options.count != 0        ? options.count
                     : settings.mode == "ping" ? 2000
                                               : 1'000'000;
    settings.batch = std::min(settings.batch, settings.window);
    const auto outcome = bench::run(context, settings);
    if (!outcome.ok()) return fail(outcome.error());
    if (context.json) {
        print_json(outcome_json(settings, outcome.value()));
    } else {
        print_outcome(settings, outcome.value());
    }
    return exit_done;
}

}  // namespace

void add_bench(Command& app, Context& context) {
    Command* command = app.add_subcommand(
        "bench", "Measure the broker; every message is confirmed, and acked where it is consumed");
    auto options = std::make_shared<Options>();
    bench::Settings& settings = options->settings;
    command
        ->add_option("--mode", settings.mode,
                     "produce, consume (a backlog), e2e (both at once), ping (one in flight)")
        ->one_of({"produce", "consume", "e2e", "ping"})
        ->capture_default_str();
    command->add_option("--count", options->count, "Messages (default 1000000; ping: 2000)")
        ->range(1, std::uint64_t{1} << 40);
    add_size(*command, "--size", options->size, "Payload bytes (default 100)");
    command->add_option("--window", settings.window, "Unconfirmed messages at most")
        ->range(1, 1'000'000)
        ->capture_default_str();
    command->add_option("--batch", settings.batch, "Messages given to the client at a time")
        ->range(1, 65'536)
        ->capture_default_str();
    command->add_option("--prefetch", settings.prefetch, "Unacked messages of each queue at most")
        ->range(2, 100'000)
        ->capture_default_str();
    command->add_option("--queues", settings.queues, "Spread the messages over so many queues")
        ->range(1, 4096)
        ->capture_default_str();
    command->add_option("--keys", settings.keys, "Messages have one of so many ordering keys")
        ->range(1, 1'000'000);
    command->add_flag("--ordered", settings.ordered, "The queues are ordered");
    command->add_option("--consumers", settings.consumers, "Connections that consume")
        ->range(1, 64)
        ->capture_default_str();
    command->add_option("--prefix", settings.prefix, "Queues are called PREFIX-0, PREFIX-1 ...")
        ->capture_default_str();
    command->add_flag("--keep", settings.keep, "Do not delete the queues afterwards");
    command->footer(examples({"ferry bench --mode produce --count 5000000",
                              "ferry bench --mode e2e --queues 1000 --json",
                              "ferry bench --mode e2e --keys 10000 --ordered --consumers 4",
                              "ferry bench --mode ping --count 2000"}) +
                    "\n\nQueues PREFIX-0 ... are emptied first and deleted at the end.");
    command->callback([&context, options] {
        context.run = [&context, options] { return run_bench(context, *options); };
    });
}

}  // namespace ferry::cli
