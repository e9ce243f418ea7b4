// `ferry lock`: run something while a lock is held, and look at locks.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "child.hpp"
#include "commands/commands.hpp"
#include "options.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

using transport::Lock;
using transport::LockState;
using transport::Timeout;

struct Options {
    std::string name;
    std::vector<std::string> command;
    std::string ttl = "15s";
    std::string wait;
    std::string delay;
    std::string grace = "2s";
    transport::LockOptions lock;
    std::uint64_t token = 0;
    bool force = false;
};

constexpr std::chrono::milliseconds look_every{20};

std::uint64_t milliseconds_of(const std::string& text) {
    return static_cast<std::uint64_t>(parse_duration(text)->count());
}

// Waits for the end of the command; ends it when the lock is lost.
class Watch {
public:
    Watch(Child& child, const Lock& lock, std::chrono::milliseconds grace)
        : child_(child), lock_(lock), grace_(grace) {}

    int run() {
        for (;;) {
            if (const auto status = child_.poll()) return lost_ ? exit_refused : *status;
            if (!lost_ && lock_.state() == LockState::lost) {
                lost_ = true;
                fail(exit_refused, "the lock '" + lock_.name() +
                                       "' is lost: the command is ended, somebody else may have "
                                       "the lock now");
                end();
            }
            if (!asked_ && interrupted()) end();
            if (asked_ && std::chrono::steady_clock::now() >= kill_at_) child_.send(SIGKILL);
            std::this_thread::sleep_for(look_every);
        }
    }

private:
    void end() {
        if (asked_) return;
        asked_ = true;
        kill_at_ = std::chrono::steady_clock::now() + grace_;
        child_.send(SIGTERM);
    }

    Child& child_;
    const Lock& lock_;
    std::chrono::milliseconds grace_;
    std::chrono::steady_clock::time_point kill_at_;
    bool asked_ = false;
    bool lost_ = false;
};

void say(std::string_view name, LockState state) {
    // `lost` is told where the command is ended.
    if (state == LockState::lost) return;
    std::fprintf(stderr, "ferry: the lock '%.*s' is %s\n", static_cast<int>(name.size()),
                 name.data(),
                 state == LockState::unsure ? "unsure: the broker does not answer" : "held again");
}

transport::Answer<std::unique_ptr<Lock>> get(transport::Client& client, const Options& options) {
    transport::LockOptions wanted = options.lock;
    wanted.ttl_ms = milliseconds_of(options.ttl);
    if (!options.delay.empty()) wanted.delay_ms = milliseconds_of(options.delay);
    wanted.on_state = [name = options.name](LockState state) { say(name, state); };
    if (options.wait.empty()) {
        wanted.give_up = [] { return interrupted(); };
        return client.lock(options.name, wanted, Timeout::max());
    }
    const Timeout wait = *parse_duration(options.wait);
    if (wait.count() == 0) return client.try_lock(options.name, wanted);
    wanted.give_up = [] { return interrupted(); };
    return client.lock(options.name, wanted, wait);
}

int run(const Context& context, const Options& options) {
    catch_interrupts();
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    auto lock = get(*client.value(), options);
    if (!lock.ok()) {
        (void)client.value()->close();  // the place in line is given up for sure
        return fail(lock.error());
    }
    const Child::Environment environment{
        {"FERRY_LOCK", options.name}, {"FERRY_LOCK_TOKEN", std::to_string(lock.value()->token())}};
    // At a terminal the command has to stay in the group that reads from it.
    const bool own_group = ::isatty(STDIN_FILENO) == 0;
    auto child = Child::start(options.command, environment, own_group);
    if (!child.ok()) {
        (void)lock.value()->release();
        return fail(child.error(), "cannot run " + options.command.front());
    }
    const auto grace = *parse_duration(options.grace);
    const int status = Watch(child.value(), *lock.value(), grace).run();
    const auto released = lock.value()->release(Timeout{5000});
    if (!released.ok() && status == exit_done &&
        released.error().wire_code == wire::Code::lock_not_held) {
        return fail(exit_refused, "the lock '" + options.name +
                                      "' was lost before the command ended: what it did last was "
                                      "not protected");
    }
    return status;
}

Json party_json(const transport::LockParty& party) {
    return {{"holder", party.holder},
            {"session", party.session},
            {"token", party.token},
            {"ttl_ms", party.ttl_ms},
            {"left_ms", party.left_ms}};
}

Json lock_json(const transport::LockInfo& lock) {
    return {{"name", lock.name},       {"permits", lock.permits},
            {"holding", lock.holding}, {"waiting", lock.waiting},
            {"delayed", lock.delayed}, {"delay_left_ms", lock.delay_left_ms}};
}

int list(const Context& context, const Options&) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    std::vector<std::vector<std::string>> rows{
        {"name", ">held", ">permits", ">waiting", ">delayed"}};
    std::string after;
    for (bool more = true; more;) {
        const auto page = client.value()->list_locks(after);
        if (!page.ok()) return fail(page.error());
        for (const transport::LockInfo& lock : page.value().locks) {
            if (context.json) print_json(lock_json(lock));
            rows.push_back({lock.name, std::to_string(lock.holding), std::to_string(lock.permits),
                            std::to_string(lock.waiting), std::to_string(lock.delayed)});
        }
        more = page.value().more && !page.value().locks.empty();
        if (more) after = page.value().locks.back().name;
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

int show(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto shown = client.value()->show_lock(options.name);
    if (!shown.ok()) return fail(shown.error());
    const transport::LockInfo& lock = shown.value();
    if (context.json) {
        Json json = lock_json(lock);
        json["holders"] = Json::array();
        for (const auto& party : lock.holders) json["holders"].push_back(party_json(party));
        json["waiters"] = Json::array();
        for (const auto& party : lock.waiters) json["waiters"].push_back(party_json(party));
        print_json(json);
        return exit_done;
    }
    std::vector<std::vector<std::string>> rows{
        {"state", ">token", "holder", ">connection", ">ttl", ">left"}};
    const auto add = [&](const char* state, const transport::LockParty& party) {
        rows.push_back({party.session == 0 ? std::string(state) + ", away" : state,
                        party.token == 0 ? "" : std::to_string(party.token), party.holder,
                        party.session == 0 ? "" : std::to_string(party.session),
                        std::to_string(party.ttl_ms) + " ms",
                        party.left_ms == 0 ? "" : std::to_string(party.left_ms) + " ms"});
    };
    for (const auto& party : lock.holders) add("holds", party);
    for (const auto& party : lock.waiters) add("waits", party);
    print_table(rows);
    if (lock.delayed != 0) {
        std::fprintf(stderr, "%s of %s permits shut after a loss, the next for %s ms\n",
                     std::to_string(lock.delayed).c_str(), std::to_string(lock.permits).c_str(),
                     std::to_string(lock.delay_left_ms).c_str());
    }
    return exit_done;
}

int release(const Context& context, const Options& options) {
    if (!options.force) {
        return fail(exit_usage,
                    "only its holder releases a lock in good order; --force takes it away");
    }
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto done = client.value()->force_unlock(options.name, options.token);
    if (!done.ok()) return fail(done.error());
    if (context.json) {
        print_json({{"name", options.name}, {"released", done.value()}});
    } else {
        std::fprintf(stderr, "taken from %s\n", std::to_string(done.value()).c_str());
    }
    return exit_done;
}

void add_run(Command& lock, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command = lock.add_subcommand("run", "Run a command while the lock is held");
    command->add_option("name", options->name, "The lock")->required();
    command->add_option("command", options->command, "The command and its arguments, behind --")
        ->required();
    add_duration(*command, "--ttl", options->ttl,
                 "It is lost when the broker heard nothing for so long; 1s to 24h")
        ->capture_default_str();
    add_duration(*command, "--wait", options->wait,
                 "Give up when it was not free for so long; 0: at once. Default: never");
    add_duration(*command, "--delay", options->delay,
                 "Nobody gets it for so long after this holder was lost (2s); 0 to 10m");
    add_duration(*command, "--grace", options->grace,
                 "When it is lost: between SIGTERM and SIGKILL to the command")
        ->capture_default_str();
    command->add_option("--permits", options->lock.permits, "So many may hold it at a time")
        ->range(1, 1024)
        ->capture_default_str();
    command->add_option("--holder", options->lock.holder,
                        "Come back to what this id held before; default: a new holder");
    command->footer(examples({"ferry lock run nightly -- ./report.sh",
                              "ferry lock run nightly --wait 0 --ttl 1m -- ./report.sh --all",
                              "ferry lock run crawlers --permits 4 -- ./crawl"}) +
                    "\n\nThe command finds the fencing token in FERRY_LOCK_TOKEN: see "
                    "docs/locks.md.\nIts exit status is this one's, or 1 if the lock was lost or "
                    "not free in time.");
    command->callback([&context, options] {
        context.run = [&context, options] { return run(context, *options); };
    });
}

}  // namespace

void add_lock(Command& app, Context& context) {
    Command* lock = app.add_subcommand("lock", "Locks with fencing tokens, and semaphores");
    lock->require_subcommand(1);
    add_run(*lock, context);
    auto options = std::make_shared<Options>();
    Command* all = lock->add_subcommand("list", "Locks that are held or awaited");
    all->footer(examples({"ferry lock list", "ferry lock list --json"}));
    all->callback([&context, options] {
        context.run = [&context, options] { return list(context, *options); };
    });
    Command* one = lock->add_subcommand("show", "Who holds a lock, and who waits for it");
    one->add_option("name", options->name, "The lock")->required();
    one->footer(examples({"ferry lock show nightly"}));
    one->callback([&context, options] {
        context.run = [&context, options] { return show(context, *options); };
    });
    Command* take = lock->add_subcommand("release", "Take a lock away from its holder");
    take->add_option("name", options->name, "The lock")->required();
    take->add_flag("--force", options->force, "Yes, without the holder's consent");
    take->add_option("--token", options->token, "Only from the holder with this token");
    take->footer(examples({"ferry lock release nightly --force"}));
    take->callback([&context, options] {
        context.run = [&context, options] { return release(context, *options); };
    });
}

}  // namespace ferry::cli
