// `ferry definitions`: what a broker is made of, out of it and into another one.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "definitions.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

using transport::Answer;
using transport::Client;
using transport::ClientError;

constexpr std::size_t file_bytes_max = 256U << 20;

// ---- what is there ----

/// Everything that `list(after)` gives, page by page.
template <class Page, class Row, class List, class With>
std::optional<ClientError> each_page(List&& list, std::vector<Row> Page::*member, With&& with) {
    std::string after;
    for (bool more = true; more;) {
        Answer<Page> page = list(after);
        if (!page.ok()) return page.error();
        auto& rows = page.value().*member;
        more = page.value().more && !rows.empty();
        if (more) after = rows.back().name;
        for (auto& row : rows) with(row);
    }
    return std::nullopt;
}

std::optional<ClientError> read_queues(Client& client, Definitions& out) {
    std::vector<std::string> names;
    auto failed = each_page([&](const std::string& after) { return client.list_queues(after); },
                            &transport::QueuePage::queues,
                            [&](transport::QueueInfo& queue) {
                                if (!queue.exclusive) names.push_back(queue.name);
                            });
    if (failed) return failed;
    for (const std::string& name : names) {
        const auto shown = client.show_queue(name);
        if (!shown.ok() && shown.error().wire_code == wire::Code::no_such_queue) continue;
        if (!shown.ok()) return shown.error();
        // Names that the broker invented cannot be declared.
        if (name.starts_with("amq.")) continue;
        Definitions::Queue queue{name, {}};
        queue.options.durable = shown.value().durable;
        queue.options.auto_delete = shown.value().auto_delete;
        queue.options.ordered = shown.value().ordered;
        queue.options.single_active = shown.value().single_active;
        queue.options.lease_ms = shown.value().lease_ms;
        queue.options.policy = settings_from(shown.value().declared);
        out.queues.push_back(std::move(queue));
    }
    return std::nullopt;
}

std::optional<ClientError> read_exchanges(Client& client, Definitions& out) {
    std::vector<std::string> names;
    auto failed =
        each_page([&](const std::string& after) { return client.list_exchanges(after); },
                  &transport::ExchangePage::exchanges,
                  [&](transport::ExchangeInfo& exchange) { names.push_back(exchange.name); });
    if (failed) return failed;
    for (const std::string& name : names) {
        const auto shown = client.show_exchange(name);
        if (!shown.ok() && shown.error().wire_code == wire::Code::no_such_exchange) continue;
        if (!shown.ok()) return shown.error();
        const transport::ExchangeInfo& x = shown.value();
        if (!name.starts_with("amq."))
            out.exchanges.push_back(
                {name, x.type, {x.durable, x.auto_delete, x.internal, false, x.hash}});
        for (transport::Binding binding : x.bindings) {
            std::sort(binding.arguments.begin(), binding.arguments.end(),
                      [](const auto& a, const auto& b) { return a.first < b.first; });
            const auto is_it = [&](const Definitions::Queue& q) {
                return q.name == binding.destination;
            };
            const bool to_queue = binding.kind == "queue";
            if (to_queue && std::none_of(out.queues.begin(), out.queues.end(), is_it)) continue;
            out.bindings.push_back(std::move(binding));
        }
    }
    return std::nullopt;
}

std::optional<ClientError> read_policies(Client& client, Definitions& out) {
    return each_page([&](const std::string& after) { return client.list_policies(after); },
                     &transport::PolicyPage::policies,
                     [&](transport::PolicyInfo& policy) {
                         if (policy.source == "config") return;
                         transport::PolicyOptions options{policy.pattern, policy.priority, false,
                                                          settings_from(policy.settings)};
                         out.policies.push_back({policy.name, std::move(options)});
                     });
}

std::optional<ClientError> read_schedules(Client& client, Definitions& out) {
    std::vector<std::string> names;
    auto failed =
        each_page([&](const std::string& after) { return client.list_schedules(after); },
                  &transport::SchedulePage::schedules,
                  [&](transport::ScheduleInfo& schedule) { names.push_back(schedule.name); });
    if (failed) return failed;
    for (const std::string& name : names) {
        auto shown = client.show_schedule(name);
        if (!shown.ok() && shown.error().wire_code == wire::Code::no_such_schedule) continue;
        if (!shown.ok()) return shown.error();
        transport::ScheduleInfo& s = shown.value();
        out.schedules.push_back(
            {name, {s.cron, s.zone, s.missed, s.paused, false, std::move(s.message)}});
    }
    return std::nullopt;
}

std::optional<ClientError> read_broker(Client& client, Definitions& out) {
    auto failed = read_queues(client, out);
    if (!failed) failed = read_exchanges(client, out);
    if (!failed) failed = read_policies(client, out);
    if (!failed) failed = read_schedules(client, out);
    return failed;
}

int run_export(const Context& context, const std::string& file) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    Definitions found;
    if (const auto failed = read_broker(*client.value(), found)) return fail(*failed);
    const std::string text = to_json(found).dump(2, ' ', false, Json::error_handler_t::replace);
    if (file.empty()) {
        write_out(text + "\n");
        return exit_done;
    }
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out << text << "\n";
    out.close();
    return out ? exit_done : fail(exit_refused, "cannot write " + file);
}

// ---- the difference ----

/// What an import has to do, in this order, or why it may not.
struct Plan {
    enum class Kind : std::uint8_t { same, create, change, conflict };
    struct Step {
        Kind kind;
        std::string what;  // "queue", …
        std::string name;
        std::string detail;  // of a conflict
        std::function<Answer<Done>(Client&)> act;
    };
    std::vector<Step> steps;

    [[nodiscard]] std::size_t count(Kind kind) const {
        return static_cast<std::size_t>(std::count_if(
            steps.begin(), steps.end(), [&](const Step& step) { return step.kind == kind; }));
    }
    void add(Kind kind, std::string what, std::string name, std::string detail = {},
             std::function<Answer<Done>(Client&)> act = {}) {
        steps.push_back(
            {kind, std::move(what), std::move(name), std::move(detail), std::move(act)});
    }
};
using Kind = Plan::Kind;

template <class T>
Answer<Done> done_if(const Answer<T>& answer) {
    if (!answer.ok()) return answer.error();
    return Done{};
}

/// True: the connection is lost, and nothing more can be found out.
bool is_lost(const ClientError& error) {
    return error.wire_code == wire::Code::ok;
}

template <class T>
const T* named(const std::vector<T>& list, const std::string& name) {
    const auto found =
        std::find_if(list.begin(), list.end(), [&](const T& each) { return each.name == name; });
    return found == list.end() ? nullptr : &*found;
}

std::optional<ClientError> plan_exchanges(Client& client, const Definitions& wanted,
                                          const Definitions& there, Plan& plan) {
    for (const Definitions::Exchange& exchange : wanted.exchanges) {
        const Definitions::Exchange* old = named(there.exchanges, exchange.name);
        if (old != nullptr) {
            const bool same = to_json(*old) == to_json(exchange);
            plan.add(same ? Kind::same : Kind::conflict, "exchange", exchange.name,
                     "it exists with other settings: " + to_json(*old).dump());
            continue;
        }
        // Only the broker knows which types there are; a passive declaration makes nothing.
        transport::ExchangeOptions ask = exchange.options;
        ask.passive = true;
        const auto answer = client.declare_exchange(exchange.name, exchange.type, ask);
        const bool free = !answer.ok() && answer.error().wire_code == wire::Code::no_such_exchange;
        if (!answer.ok() && is_lost(answer.error())) return answer.error();
        plan.add(free ? Kind::create : Kind::conflict, "exchange", exchange.name,
                 free || answer.ok() ? "" : answer.error().text, [exchange](Client& c) {
                     return c.declare_exchange(exchange.name, exchange.type, exchange.options);
                 });
    }
    return std::nullopt;
}

std::optional<ClientError> plan_queues(Client& client, const Definitions& wanted,
                                       const Definitions& there, Plan& plan) {
    for (const Definitions::Queue& queue : wanted.queues) {
        transport::QueueOptions ask = queue.options;
        ask.check = true;
        const auto answer = client.declare_queue(queue.name, ask);
        if (!answer.ok() && is_lost(answer.error())) return answer.error();
        const bool exists = named(there.queues, queue.name) != nullptr;
        const Kind fine = exists ? Kind::same : Kind::create;
        plan.add(answer.ok() ? fine : Kind::conflict, "queue", queue.name,
                 answer.ok() ? "" : answer.error().text, [queue](Client& c) {
                     return done_if(c.declare_queue(queue.name, queue.options));
                 });
    }
    return std::nullopt;
}

// A circle of exchanges is refused by the broker; it must not come to that in the middle.
bool closes_circle(const std::vector<transport::Binding>& all, const transport::Binding& last) {
    std::vector<std::string> open{last.destination};
    std::set<std::string> seen;
    while (!open.empty()) {
        const std::string at = open.back();
        open.pop_back();
        if (at == last.source) return true;
        if (!seen.insert(at).second) continue;
        for (const transport::Binding& b : all) {
            if (b.kind == "exchange" && b.source == at) open.push_back(b.destination);
        }
    }
    return false;
}

void plan_bindings(const Definitions& wanted, const Definitions& there, Plan& plan) {
    std::set<std::string> known;
    for (const transport::Binding& binding : there.bindings) known.insert(to_json(binding).dump());
    std::vector<transport::Binding> all = there.bindings;
    const auto exchange_exists = [&](const std::string& name) {
        static const std::set<std::string> own{"amq.direct", "amq.fanout", "amq.topic",
                                               "amq.headers", "amq.match"};
        return own.count(name) != 0 || named(wanted.exchanges, name) != nullptr ||
               named(there.exchanges, name) != nullptr;
    };
    for (const transport::Binding& binding : wanted.bindings) {
        const std::string name = binding.source + " -> " + binding.kind + " " +
                                 binding.destination +
                                 (binding.key.empty() ? "" : " key " + binding.key);
        if (known.count(to_json(binding).dump()) != 0) {
            plan.add(Kind::same, "binding", name);
            continue;
        }
        const bool to_queue = binding.kind == "queue";
        const bool reaches = to_queue ? named(wanted.queues, binding.destination) != nullptr ||
                                            named(there.queues, binding.destination) != nullptr
                                      : exchange_exists(binding.destination);
        std::string wrong;
        if (!exchange_exists(binding.source)) {
            wrong = "there is no exchange " + binding.source + ", neither here nor in the file";
        } else if (!reaches) {
            wrong = "there is no " + binding.kind + " " + binding.destination +
                    ", neither here nor in the file";
        } else if (!to_queue && closes_circle(all, binding)) {
            wrong = "it would close a circle of exchanges";
        }
        all.push_back(binding);
        plan.add(wrong.empty() ? Kind::create : Kind::conflict, "binding", name, wrong,
                 [binding](Client& c) { return c.bind(binding); });
    }
}

std::optional<ClientError> plan_policies(Client& client, const Definitions& wanted,
                                         const Definitions& there, Plan& plan) {
    for (const Definitions::Policy& policy : wanted.policies) {
        const Definitions::Policy* old = named(there.policies, policy.name);
        if (old != nullptr && to_json(*old) == to_json(policy)) {
            plan.add(Kind::same, "policy", policy.name);
            continue;
        }
        transport::PolicyOptions ask = policy.options;
        ask.check = true;
        const auto answer = client.set_policy(policy.name, ask);
        if (!answer.ok() && is_lost(answer.error())) return answer.error();
        const Kind fine = old != nullptr ? Kind::change : Kind::create;
        plan.add(answer.ok() ? fine : Kind::conflict, "policy", policy.name,
                 answer.ok() ? "" : answer.error().text, [policy](Client& c) {
                     return done_if(c.set_policy(policy.name, policy.options));
                 });
    }
    return std::nullopt;
}

std::optional<ClientError> plan_schedules(Client& client, const Definitions& wanted,
                                          const Definitions& there, Plan& plan) {
    for (const Definitions::Schedule& schedule : wanted.schedules) {
        const Definitions::Schedule* old = named(there.schedules, schedule.name);
        if (old != nullptr && to_json(*old) == to_json(schedule)) {
            plan.add(Kind::same, "schedule", schedule.name);
            continue;
        }
        transport::ScheduleOptions ask = schedule.options;
        ask.check = true;
        const auto answer = client.set_schedule(schedule.name, ask);
        if (!answer.ok() && is_lost(answer.error())) return answer.error();
        const Kind fine = old != nullptr ? Kind::change : Kind::create;
        plan.add(answer.ok() ? fine : Kind::conflict, "schedule", schedule.name,
                 answer.ok() ? "" : answer.error().text,
                 [schedule](Client& c) { return c.set_schedule(schedule.name, schedule.options); });
    }
    return std::nullopt;
}

const char* kind_name(Kind kind) {
    switch (kind) {
        case Kind::same:
            return "same";
        case Kind::create:
            return "create";
        case Kind::change:
            return "change";
        case Kind::conflict:
            return "conflict";
    }
    return "";
}

void print_plan(const Context& context, const Plan& plan) {
    for (const Plan::Step& step : plan.steps) {
        if (step.kind == Kind::same) continue;
        if (context.json) {
            Json row{{"do", kind_name(step.kind)}, {"what", step.what}, {"name", step.name}};
            if (step.kind == Kind::conflict) row["because"] = step.detail;
            print_json(row);
            continue;
        }
        const bool wrong = step.kind == Kind::conflict;
        std::printf("%-8s %-8s %s%s%s\n", kind_name(step.kind), step.what.c_str(),
                    step.name.c_str(), wrong ? ": " : "", wrong ? step.detail.c_str() : "");
    }
}

// ---- import ----

struct ImportOptions {
    std::string file;
    bool dry_run = false;
};

bool read_file(const std::string& path, std::string& text) {
    std::ifstream file(path, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), {});
    return file.is_open() && !file.bad() && text.size() <= file_bytes_max;
}

int carry_out(const Context& context, Client& client, const Plan& plan) {
    std::size_t done = 0;
    for (const Plan::Step& step : plan.steps) {
        if (step.kind == Kind::same) continue;
        const Answer<Done> answer = step.act(client);
        if (!answer.ok()) {
            std::fprintf(stderr,
                         "ferry: stopped at %s %s after %zu changes; what was done stays, and the "
                         "same import goes on from here\n",
                         step.what.c_str(), step.name.c_str(), done);
            return fail(answer.error());
        }
        ++done;
    }
    if (context.json) {
        print_json({{"created", plan.count(Kind::create)},
                    {"changed", plan.count(Kind::change)},
                    {"same", plan.count(Kind::same)}});
    } else {
        std::fprintf(stderr, "%zu created, %zu changed, %zu as they were\n",
                     plan.count(Kind::create), plan.count(Kind::change), plan.count(Kind::same));
    }
    return exit_done;
}

int run_import(const Context& context, const ImportOptions& options) {
    std::string text;
    if (!read_file(options.file, text))
        return fail(exit_refused, "cannot read " + options.file + ", or it is over 256 MiB");
    Definitions wanted;
    std::string wrong;
    if (!parse_definitions(text, wanted, wrong))
        return fail(exit_refused, options.file + ": " + wrong);
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    Client& c = *client.value();
    Definitions there;
    Plan plan;
    auto failed = read_broker(c, there);
    if (!failed) failed = plan_exchanges(c, wanted, there, plan);
    if (!failed) failed = plan_queues(c, wanted, there, plan);
    if (!failed) plan_bindings(wanted, there, plan);
    if (!failed) failed = plan_policies(c, wanted, there, plan);
    if (!failed) failed = plan_schedules(c, wanted, there, plan);
    if (failed) return fail(*failed);
    const std::size_t conflicts = plan.count(Kind::conflict);
    if (options.dry_run || conflicts != 0) print_plan(context, plan);
    if (conflicts != 0)
        return fail(exit_refused, std::to_string(conflicts) + " conflicts; nothing was changed");
    if (options.dry_run) return exit_done;
    return carry_out(context, c, plan);
}

}  // namespace

void add_definitions(Command& app, Context& context) {
    Command* definitions = app.add_subcommand(
        "definitions", "Exchanges, queues, bindings, policies and schedules as one JSON file");
    definitions->require_subcommand(1);
    auto file = std::make_shared<std::string>();
    Command* out = definitions->add_subcommand("export", "Print them, or write them to a file");
    out->add_option("file", *file, "The file to write (default: stdout)");
    out->footer(examples({"ferry definitions export broker.json"}));
    out->callback([&context, file] {
        context.run = [&context, file] { return run_export(context, *file); };
    });

    auto options = std::make_shared<ImportOptions>();
    Command* in = definitions->add_subcommand(
        "import", "Make what a file says; all of it is checked before anything changes");
    in->add_option("file", options->file, "A file that export wrote")->required();
    in->add_flag("--dry-run", options->dry_run, "Only show what would be made or changed");
    in->footer(examples({"ferry definitions import broker.json --dry-run",
                         "ferry definitions import broker.json"}));
    in->callback([&context, options] {
        context.run = [&context, options] { return run_import(context, *options); };
    });
}

}  // namespace ferry::cli
