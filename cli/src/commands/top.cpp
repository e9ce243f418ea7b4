#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct Options {
    bool once = false;
    std::string interval = "1s";
    std::uint32_t rows = 20;
};

struct Sample {
    steady_clock::time_point taken;
    transport::BrokerStats stats;
    std::map<std::string, transport::QueueInfo> queues;
};

/// A queue with what happened to it between two samples, per second.
struct Row {
    transport::QueueInfo queue;
    std::uint64_t published = 0;
    std::uint64_t delivered = 0;
    std::uint64_t acked = 0;
};

transport::Answer<Sample> take_sample(transport::Client& client) {
    Sample sample;
    auto stats = client.stats();
    if (!stats.ok()) return stats.error();
    sample.taken = steady_clock::now();
    sample.stats = std::move(stats).value();
    std::string after;
    for (bool more = true; more;) {
        auto page = client.list_queues(after);
        if (!page.ok()) return page.error();
        more = page.value().more && !page.value().queues.empty();
        if (more) after = page.value().queues.back().name;
        for (transport::QueueInfo& queue : page.value().queues) {
            std::string name = queue.name;
            sample.queues.emplace(std::move(name), std::move(queue));
        }
    }
    return sample;
}

std::uint64_t rate(std::uint64_t before, std::uint64_t after, double seconds) {
    // Totals fall when the broker was restarted in between.
    if (after < before || seconds <= 0) return 0;
    return static_cast<std::uint64_t>(static_cast<double>(after - before) / seconds);
}

std::vector<Row> busiest(const Sample& before, const Sample& now, double seconds) {
    std::vector<Row> rows;
    for (const auto& [name, queue] : now.queues) {
        Row row{queue};
        const auto old = before.queues.find(name);
        if (old != before.queues.end()) {
            row.published = rate(old->second.published, queue.published, seconds);
            row.delivered = rate(old->second.delivered, queue.delivered, seconds);
            row.acked = rate(old->second.acked, queue.acked, seconds);
        }
        rows.push_back(std::move(row));
    }
    std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
        const auto busy = [](const Row& row) { return row.published + row.delivered; };
        return busy(a) != busy(b) ? busy(a) > busy(b) : a.queue.ready > b.queue.ready;
    });
    return rows;
}

constexpr const char* rated[] = {"published", "confirmed", "delivered",
                                 "acked",     "refused",   "syncs"};

Json sample_json(const Sample& before, const Sample& now, double seconds, std::size_t rows_max) {
    Json out{{"version", now.stats.version}, {"seconds", seconds}};
    for (const auto& [name, figure] : now.stats.figures) out[name] = figure;
    Json& per_second = out["per_second"] = Json::object();
    for (const char* name : rated) {
        per_second[name] = rate(before.stats.figure(name), now.stats.figure(name), seconds);
    }
    Json& list = out["busiest"] = Json::array();
    for (const Row& row : busiest(before, now, seconds)) {
        if (list.size() >= rows_max) break;
        list.push_back({{"name", row.queue.name},
                        {"ready", row.queue.ready},
                        {"unacked", row.queue.unacked},
                        {"consumers", row.queue.consumers},
                        {"published_s", row.published},
                        {"delivered_s", row.delivered},
                        {"acked_s", row.acked}});
    }
    return out;
}

std::string uptime(std::uint64_t ms) {
    const std::uint64_t seconds = ms / 1000;
    if (seconds < 60) return std::to_string(seconds) + "s";
    if (seconds < 3600)
        return std::to_string(seconds / 60) + "m" + std::to_string(seconds % 60) + "s";
    return std::to_string(seconds / 3600) + "h" + std::to_string(seconds / 60 % 60) + "m";
}

std::string screen(const Sample& before, const Sample& now, double seconds, std::size_t rows_max) {
    const auto total = [&now](const char* name) { return now.stats.figure(name); };
    std::string out = "ferryd " + now.stats.version + ", up " + uptime(total("uptime_ms")) + ", " +
                      with_commas(total("connections")) + " connections, " +
                      with_commas(total("queues")) + " queues, " + with_commas(total("ready")) +
                      " ready, " + with_commas(total("unacked")) + " unacked\n";
    out += "log " + human_bytes(total("log_file_bytes")) + " on disk, " +
           human_bytes(total("log_live_bytes")) + " live";
    if (total("publish_blocked") > 0) {
        out += "; " + with_commas(total("publish_blocked")) + " publishers held back";
    }
    out += "\n\n";
    std::vector<std::string> head;
    std::vector<std::string> figures;
    for (const char* name : rated) {
        head.push_back(std::string(">") + name + "/s");
        figures.push_back(
            with_commas(rate(before.stats.figure(name), now.stats.figure(name), seconds)));
    }
    out += format_table({head, figures}) + "\n";
    std::vector<std::vector<std::string>> table{
        {"queue", ">ready", ">unacked", ">consumers", ">published/s", ">delivered/s", ">acked/s"}};
    for (const Row& row : busiest(before, now, seconds)) {
        if (table.size() > rows_max) break;
        table.push_back({row.queue.name, with_commas(row.queue.ready),
                         with_commas(row.queue.unacked), with_commas(row.queue.consumers),
                         with_commas(row.published), with_commas(row.delivered),
                         with_commas(row.acked)});
    }
    return out + format_table(table);
}

// Waits in short steps, so that Ctrl-C is answered at once.
void wait_for(milliseconds time) {
    const auto end = steady_clock::now() + time;
    while (!interrupted() && steady_clock::now() < end) {
        std::this_thread::sleep_for(std::min<steady_clock::duration>(
            milliseconds(50), std::max(end - steady_clock::now(), steady_clock::duration(0))));
    }
}

int run_top(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    catch_interrupts();
    const bool redraw = !context.json && !options.once && ::isatty(STDOUT_FILENO) == 1;
    auto before = take_sample(*client.value());
    if (!before.ok()) return fail(before.error());
    for (;;) {
        wait_for(*parse_duration(options.interval));
        if (interrupted()) return exit_done;
        auto now = take_sample(*client.value());
        if (!now.ok()) return fail(now.error());
        const double seconds =
            std::chrono::duration<double>(now.value().taken - before.value().taken).count();
        if (context.json) {
            print_json(sample_json(before.value(), now.value(), seconds, options.rows));
        } else {
            const std::string text = screen(before.value(), now.value(), seconds, options.rows);
            // Clears first: an earlier screen may have been longer.
            write_out(redraw ? "\033[H\033[2J" + text : text);
        }
        if (!flush_out()) return fail(exit_refused, "cannot write to stdout");
        if (options.once) return exit_done;
        before = std::move(now);
    }
}

}  // namespace

void add_top(Command& app, Context& context) {
    Command* command = app.add_subcommand("top", "Watch rates and queues live");
    auto options = std::make_shared<Options>();
    command->add_flag("--once", options->once, "Print one sample and end");
    add_duration(*command, "--interval", options->interval, "Time between samples (default 1s)");
    command->add_option("--rows", options->rows, "At most so many queues")->capture_default_str();
    command->footer(examples({"ferry top", "ferry top --once --json"}));
    command->callback([&context, options] {
        context.run = [&context, options] {
            if (parse_duration(options->interval)->count() < 50) {
                return fail(exit_usage, "--interval is at least 50ms");
            }
            return run_top(context, *options);
        };
    });
}

}  // namespace ferry::cli
