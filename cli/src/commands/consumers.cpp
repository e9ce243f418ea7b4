// `ferry consumers`: who holds what, and for how long.

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "output.hpp"
#include "units.hpp"

namespace ferry::cli {
namespace {

using transport::QueueMember;

struct Options {
    std::string queue;
    bool stuck = false;
};

const char* state_of(const QueueMember& consumer) {
    if (consumer.stuck) return "stuck";
    if (!consumer.active) return "waits";
    if (consumer.pulls) return "pulls";
    return consumer.window_messages == 0 ? "paused" : "active";
}

Json consumer_json(const QueueMember& c) {
    return {{"queue", c.queue},
            {"client", c.client},
            {"session", c.session},
            {"subscription", c.subscription},
            {"member", c.member},
            {"state", state_of(c)},
            {"stuck", c.stuck},
            {"unacked", c.unacked},
            {"unacked_bytes", c.unacked_bytes},
            {"window_messages", c.window_messages},
            {"oldest_ms", c.oldest_ms},
            {"lease_ms", c.lease_ms},
            {"silent_ms", c.silent_ms},
            {"leases_ended", c.leases_ended},
            {"slots", c.slots},
            {"draining", c.draining}};
}

std::vector<std::string> consumer_row(const QueueMember& c) {
    const std::string number = std::to_string(c.session) + "." + std::to_string(c.subscription);
    return {c.queue,
            c.client.empty() ? number : c.client + " " + number,
            state_of(c),
            with_commas(c.unacked),
            c.pulls ? "" : with_commas(c.window_messages),
            human_bytes(c.unacked_bytes),
            c.unacked == 0 ? "" : human_span(c.oldest_ms),
            human_span(c.lease_ms),
            human_span(c.silent_ms),
            with_commas(c.leases_ended)};
}

int list(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::vector<std::vector<std::string>> rows{{"queue", "consumer", "state", ">holds", ">window",
                                                ">bytes", ">oldest", ">lease", ">silent",
                                                ">leases ended"}};
    transport::ConsumerPlace after;
    for (bool more = true; more;) {
        const auto page = client.value()->list_consumers(options.queue, after);
        if (!page.ok()) return fail(page.error());
        for (const QueueMember& consumer : page.value().consumers) {
            if (options.stuck && !consumer.stuck) continue;
            if (context.json) {
                print_json(consumer_json(consumer));
            } else {
                rows.push_back(consumer_row(consumer));
            }
        }
        more = page.value().more && !page.value().consumers.empty();
        after = page.value().next;
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

}  // namespace

void add_consumers(Command& app, Context& context) {
    auto options = std::make_shared<Options>();
    Command* consumers =
        app.add_subcommand("consumers", "Who consumes, what they hold and for how long");
    consumers->add_option("queue", options->queue, "Only of this queue");
    consumers->add_flag("--stuck", options->stuck,
                        "Only those that let a lease end and have not been heard since");
    consumers->footer(
        examples({"ferry consumers", "ferry consumers orders", "ferry --json consumers --stuck"}));
    consumers->callback([&context, options] {
        context.run = [&context, options] { return list(context, *options); };
    });
}

}  // namespace ferry::cli
