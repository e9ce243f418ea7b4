#include "full_path.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "broker_child.hpp"
#include "ferry/outbox/relay.hpp"
#include "ferry/saga/orchestrator.hpp"
#include "ferry/saga/participant.hpp"

namespace ferry::bench {
namespace {

using Time = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Started and not yet ended at most; more would only wait.
constexpr std::uint64_t under_way_max = 4'000;

[[noreturn]] void die(const std::string& why) {
    std::fprintf(stderr, "saga_bench: %s\n", why.c_str());
    std::exit(1);
}

double seconds_since(Time::time_point begin) {
    return std::chrono::duration<double>(Time::now() - begin).count();
}

std::unique_ptr<transport::Client> connect(const std::string& url) {
    transport::ClientOptions options;
    options.url = url;
    auto client = transport::Client::connect(options);
    if (!client.ok()) die(client.error().text);
    return std::move(client).value();
}

std::unique_ptr<outbox::relay::Relay> start_relay(const std::string& url, const std::string& path) {
    outbox::relay::Options options;
    options.database = path;
    options.url = url;
    auto relay = outbox::relay::Relay::start(options);
    if (!relay.ok()) die(relay.error().text);
    return std::move(relay).value();
}

std::unique_ptr<consumer::Source> source_of(transport::Client& client, const std::string& queue) {
    if (auto made = client.declare_queue(queue); !made.ok()) die(made.error().text);
    consumer::BrokerSourceOptions options;
    options.queue = queue;
    options.prefetch = 2'000;
    auto source = consumer::broker_source(client, options);
    if (!source.ok()) die(source.error().text);
    return std::move(source).value();
}

/// One service: a row per effect.
class Service {
public:
    Service(const std::string& url, const std::string& directory, const std::string& step)
        : path_(directory + "/" + step + ".db") {
        if (auto made = saga::Participant::init(path_); !made.ok()) die(made.error().text);
        auto database = sqlite::Database::open(path_, sqlite::Database::Access::read_write);
        if (!database.ok()) die(database.error().text);
        if (!database.value().run("CREATE TABLE effect(saga TEXT PRIMARY KEY) WITHOUT ROWID").ok())
            die("cannot make a table");
        client_ = connect(url);
        saga::ParticipantOptions options;
        options.database = path_;
        options.name = step;
        auto opened = saga::Participant::open(options);
        if (!opened.ok()) die(opened.error().text);
        participant_ = std::move(opened).value();
        participant_->act(step, [](saga::Call& call) {
            call.effects.run("INSERT INTO effect VALUES(?1)", std::string_view(call.saga));
            return saga::Said::done("{\"ok\":true}");
        });
        participant_->undo(step + ".undo", [](saga::Call& call) {
            call.effects.run("DELETE FROM effect WHERE saga = ?1", std::string_view(call.saga));
            return saga::Said::done();
        });
        for (const std::string& queue : {step, step + ".undo"}) {
            if (!participant_->run(source_of(*client_, queue), queue).ok()) die("cannot run");
        }
        relay_ = start_relay(url, path_);
    }
    ~Service() {
        participant_->stop(10s).ignore("it is over");
        relay_->stop(10s);
        participant_.reset();
    }
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    [[nodiscard]] std::int64_t effects() const {
        auto database = sqlite::Database::open(path_, sqlite::Database::Access::read_only);
        if (!database.ok()) return -1;
        const auto count = database.value().integer("SELECT count(*) FROM effect");
        return count.ok() ? count.value().value_or(-1) : -1;
    }

private:
    std::string path_;
    std::unique_ptr<transport::Client> client_;
    std::unique_ptr<saga::Participant> participant_;
    std::unique_ptr<outbox::relay::Relay> relay_;
};

saga::Definition three_steps() {
    saga::Builder b("three");
    b.deadline(1h);
    for (const std::string step : {"a", "b", "c"}) {
        b.step(step).command(step).compensation(step + ".undo");
    }
    return std::move(b.build()).value();
}

void run_many(saga::Orchestrator& orchestrator, std::uint64_t sagas) {
    const auto begin = Time::now();
    std::uint64_t started = 0;
    while (orchestrator.figures().completed < sagas) {
        const std::uint64_t most =
            std::min(sagas, orchestrator.figures().completed + under_way_max);
        for (; started < most; ++started) {
            orchestrator.start_async("three", "s" + std::to_string(started), R"({"n":1})", {});
        }
        std::this_thread::sleep_for(2ms);
    }
    const double seconds = seconds_since(begin);
    const saga::SagaFigures figures = orchestrator.figures();
    std::printf("full: %llu sagas of three steps in %.2f s: %.0f sagas/s, %llu transactions\n",
                static_cast<unsigned long long>(sagas), seconds,
                static_cast<double>(sagas) / seconds,
                static_cast<unsigned long long>(figures.transactions));
}

void run_alone(saga::Orchestrator& orchestrator, std::uint64_t sagas) {
    std::vector<double> ms;
    for (std::uint64_t i = 0; i < sagas; ++i) {
        const auto begin = Time::now();
        if (!orchestrator.start("three", "s" + std::to_string(i), R"({"n":1})").ok()) {
            die("cannot start a saga");
        }
        while (orchestrator.figures().completed <= i) std::this_thread::sleep_for(50us);
        ms.push_back(seconds_since(begin) * 1000);
    }
    std::sort(ms.begin(), ms.end());
    const auto at = [&](double part) {
        return ms[static_cast<std::size_t>(part * static_cast<double>(ms.size() - 1))];
    };
    std::printf("alone: %zu sagas, p50 %.2f ms, p90 %.2f ms, p99 %.2f ms\n", ms.size(), at(0.5),
                at(0.9), at(0.99));
}

}  // namespace

int full_path(const std::string& ferryd, std::uint64_t sagas, const std::string& directory,
              bool alone) {
    const BrokerChild broker(ferryd, directory + "/broker");
    const std::string path = directory + "/saga.db";
    if (auto made = saga::Orchestrator::init(path); !made.ok()) die(made.error().text);
    std::vector<std::unique_ptr<Service>> services;
    for (const char* step : {"a", "b", "c"}) {
        services.push_back(std::make_unique<Service>(broker.url(), directory, step));
    }
    saga::OrchestratorOptions options;
    options.database = path;
    auto opened = saga::Orchestrator::open(options);
    if (!opened.ok()) die(opened.error().text);
    saga::Orchestrator& orchestrator = *opened.value();
    if (!orchestrator.add(three_steps()).ok()) die("cannot add the definition");
    const auto client = connect(broker.url());
    if (!orchestrator.run(source_of(*client, orchestrator.queue())).ok()) die("cannot run");
    const auto relay = start_relay(broker.url(), path);
    while (!relay->figures().connected) std::this_thread::sleep_for(1ms);
    alone ? run_alone(orchestrator, sagas) : run_many(orchestrator, sagas);
    for (const auto& service : services) {
        if (service->effects() != static_cast<std::int64_t>(sagas)) die("an effect is missing");
    }
    orchestrator.stop(10s).ignore("it is over");
    relay->stop(10s);
    opened.value().reset();
    return 0;
}

}  // namespace ferry::bench
