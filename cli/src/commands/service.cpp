// `ferry service`: registering instances of services, and looking at who is there.

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include <signal.h>
#include <unistd.h>

#include "child.hpp"
#include "commands/commands.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string service;
    std::string instance;
    std::string ttl = "15s";
    std::vector<std::string> metadata;
    std::vector<std::string> command;
    std::uint64_t count = 0;
};

constexpr std::chrono::milliseconds look_every{50};

Json metadata_json(const transport::Metadata& metadata) {
    Json out = Json::object();
    for (const auto& [name, value] : metadata) out[name] = value;
    return out;
}

std::string metadata_text(const transport::Metadata& metadata) {
    std::string out;
    for (const auto& [name, value] : metadata) out += (out.empty() ? "" : " ") + name + "=" + value;
    return out;
}

// Until the command has ended, or an interrupt comes.
int stay(const Options& options) {
    if (options.command.empty()) {
        while (!interrupted()) std::this_thread::sleep_for(look_every);
        return exit_done;
    }
    auto child = Child::start(options.command, {{"FERRY_SERVICE", options.service}},
                              ::isatty(STDIN_FILENO) == 0);
    if (!child.ok()) return fail(child.error(), "cannot run " + options.command.front());
    bool told = false;
    for (;;) {
        if (const auto status = child.value().poll()) return *status;
        if (interrupted() && !told) child.value().send(SIGTERM);
        told = interrupted();
        std::this_thread::sleep_for(look_every);
    }
}

int enter(const Context& context, const Options& options) {
    catch_interrupts();
    transport::RegisterOptions wanted;
    wanted.instance = options.instance;
    wanted.ttl_ms = static_cast<std::uint64_t>(parse_duration(options.ttl)->count());
    for (const std::string& text : options.metadata) {
        const std::size_t equals = text.find('=');
        if (equals == std::string::npos || equals == 0)
            return fail(exit_usage, "--meta wants name=value, not '" + text + "'");
        wanted.metadata.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    auto registered = client.value()->register_service(options.service, wanted);
    if (!registered.ok()) return fail(registered.error());
    std::fprintf(stderr, "registered as %s\n", registered.value()->instance().c_str());
    const int status = stay(options);
    (void)registered.value()->unregister(transport::Timeout{2000});
    (void)client.value()->close(transport::Timeout{2000});
    return status;
}

int list(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::vector<std::vector<std::string>> rows{
        {"service", "instance", ">age", ">left", "metadata"}};
    transport::ServiceInstance after;
    for (bool more = true; more;) {
        const auto page = client.value()->list_services(options.service, after);
        if (!page.ok()) return fail(page.error());
        for (const transport::ServiceInstance& one : page.value().instances) {
            if (context.json) {
                print_json({{"service", one.service},
                            {"instance", one.instance},
                            {"metadata", metadata_json(one.metadata)},
                            {"session", one.session},
                            {"age_ms", one.age_ms},
                            {"left_ms", one.left_ms}});
            }
            rows.push_back({one.service, one.instance, std::to_string(one.age_ms / 1000) + " s",
                            std::to_string(one.left_ms) + " ms", metadata_text(one.metadata)});
        }
        more = page.value().more && !page.value().instances.empty();
        if (more) after = page.value().instances.back();
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

const char* name_of(transport::ServiceChange::Kind kind) {
    switch (kind) {
        case transport::ServiceChange::Kind::added:
            return "added";
        case transport::ServiceChange::Kind::changed:
            return "changed";
        case transport::ServiceChange::Kind::removed:
            return "removed";
    }
    return "";
}

void print_change(const Context& context, const transport::ServiceChange& change) {
    const transport::ServiceInstance& one = change.instance;
    if (context.json) {
        print_json({{"change", name_of(change.kind)},
                    {"service", one.service},
                    {"instance", one.instance},
                    {"metadata", metadata_json(one.metadata)}});
    } else {
        write_out(std::string(name_of(change.kind)) + " " + one.service + " " + one.instance + " " +
                  metadata_text(one.metadata) + "\n");
    }
    flush_out();
}

int watch(const Context& context, const Options& options) {
    catch_interrupts();
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<transport::ServiceChange> waiting;
    auto watching =
        client.value()->watch_service(options.service, [&](const transport::ServiceChange& change) {
            const std::lock_guard guard(mutex);
            waiting.push_back(change);
            changed.notify_all();
        });
    if (!watching.ok()) return fail(watching.error());
    std::uint64_t seen = 0;
    while (!interrupted() && (options.count == 0 || seen < options.count)) {
        std::deque<transport::ServiceChange> now;
        {
            std::unique_lock guard(mutex);
            changed.wait_for(guard, look_every, [&] { return !waiting.empty(); });
            now.swap(waiting);
        }
        for (const transport::ServiceChange& change : now) {
            if (options.count == 0 || seen++ < options.count) print_change(context, change);
        }
    }
    return exit_done;
}

}  // namespace

void add_service(Command& app, Context& context) {
    Command* service = app.add_subcommand("service", "Which instances of which services are there");
    service->require_subcommand(1);
    auto options = std::make_shared<Options>();
    Command* enters = service->add_subcommand("register", "Register, while a command runs");
    enters->add_option("service", options->service, "Name of the service")->required();
    enters->add_option("command", options->command,
                       "The command and its arguments, behind --; none: until it is interrupted");
    enters->add_option("--instance", options->instance, "Its id; default: a random one");
    enters->add_option("--meta", options->metadata, "name=value; may be repeated")
        ->allow_extra_args(false);
    add_duration(*enters, "--ttl", options->ttl,
                 "It is gone when the broker heard nothing for so long; 1s to 24h")
        ->capture_default_str();
    enters->footer(examples({"ferry service register prices --meta address=10.0.0.7:80 -- ./prices",
                             "ferry service register prices --instance a"}));
    enters->callback([&context, options] {
        context.run = [&context, options] { return enter(context, *options); };
    });
    Command* all = service->add_subcommand("list", "Who is there");
    all->add_option("service", options->service, "Only this service");
    all->footer(examples({"ferry service list", "ferry service list prices --json"}));
    all->callback([&context, options] {
        context.run = [&context, options] { return list(context, *options); };
    });
    Command* watches = service->add_subcommand("watch", "Who is there, and every change");
    watches->add_option("service", options->service, "Only this service");
    watches->add_option("--count", options->count, "End after so many changes");
    watches->footer(examples({"ferry service watch prices", "ferry service watch --json"}));
    watches->callback([&context, options] {
        context.run = [&context, options] { return watch(context, *options); };
    });
}

}  // namespace ferry::cli
