// What sagas cost. Every change is a durable transaction (synchronous=FULL).
//
//   saga_bench null     [SAGAS] [DIR]         an orchestrator alone: three-step sagas against a
//   null
//                                             transport, which reads its outbox and answers at once
//   saga_bench full     FERRYD [SAGAS] [DIR]  the full path: broker, relays, three participants
//   saga_bench alone    FERRYD [SAGAS] [DIR]  the same, one saga at a time: how long it takes
//   saga_bench sleeping [SAGAS] [DIR]         memory that sagas take which wait for a signal
//   saga_bench start    [ENDED] [OPEN] [DIR]  how long a start takes with so many sagas stored

#include <stdlib.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ferry/saga/orchestrator.hpp"
#include "full_path.hpp"
#include "null_transport.hpp"

namespace {

using namespace ferry;
using Time = std::chrono::steady_clock;
using namespace std::chrono_literals;

[[noreturn]] void die(const std::string& why) {
    std::fprintf(stderr, "saga_bench: %s\n", why.c_str());
    std::exit(1);
}

double seconds_since(Time::time_point begin) {
    return std::chrono::duration<double>(Time::now() - begin).count();
}

std::uint64_t memory_kib() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
    }
    return 0;
}

/// Removed with everything in it.
class Folder {
public:
    explicit Folder(const std::string& under) : path_(under + "/saga-bench-XXXXXX") {
        if (::mkdtemp(path_.data()) == nullptr) die("no directory " + path_);
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

saga::Definition three_steps() {
    saga::Builder b("three");
    b.deadline(1h);
    for (const char* step : {"a", "b", "c"}) b.step(step).command(step).compensation("undo");
    return std::move(b.build()).value();
}

saga::Definition sleeper() {
    saga::Builder b("sleeper");
    b.deadline(24h).signal("wake").step("a").command("a").compensation("undo");
    return std::move(b.build()).value();
}

std::unique_ptr<saga::Orchestrator> open(const std::string& path) {
    if (auto made = saga::Orchestrator::init(path); !made.ok()) die(made.error().text);
    saga::OrchestratorOptions options;
    options.database = path;
    auto opened = saga::Orchestrator::open(options);
    if (!opened.ok()) die(opened.error().text);
    for (const saga::Definition& one : {three_steps(), sleeper()}) {
        if (auto added = opened.value()->add(one); !added.ok()) die(added.error().text);
    }
    return std::move(opened).value();
}

void start_all(saga::Orchestrator& orchestrator, const char* definition, const char* prefix,
               std::uint64_t sagas) {
    const std::uint64_t before = orchestrator.figures().started;
    for (std::uint64_t i = 0; i < sagas; ++i) {
        orchestrator.start_async(definition, prefix + std::to_string(i), R"({"n":1})", {});
        while (i % 1000 == 0 && orchestrator.figures().started + 20'000 < before + i) {
            std::this_thread::sleep_for(1ms);
        }
    }
    while (orchestrator.figures().started < before + sagas) std::this_thread::sleep_for(1ms);
}

int null_path(std::uint64_t sagas, const std::string& directory) {
    const Folder folder(directory);
    const std::string path = folder.path() + "/saga.db";
    const auto orchestrator = open(path);
    if (!orchestrator->run(std::make_unique<bench::NullTransport>(path)).ok()) die("cannot run");
    const auto begin = Time::now();
    for (std::uint64_t i = 0; i < sagas; ++i) {
        orchestrator->start_async("three", "s" + std::to_string(i), R"({"n":1})", {});
    }
    while (orchestrator->figures().completed < sagas) std::this_thread::sleep_for(2ms);
    const double seconds = seconds_since(begin);
    std::printf("null: %llu sagas of three steps in %.2f s: %.0f sagas/s, %llu transactions\n",
                static_cast<unsigned long long>(sagas), seconds,
                static_cast<double>(sagas) / seconds,
                static_cast<unsigned long long>(orchestrator->figures().transactions));
    orchestrator->stop(10s).ignore("it is over");
    return 0;
}

int sleeping(std::uint64_t sagas, const std::string& directory) {
    const Folder folder(directory);
    const std::string path = folder.path() + "/saga.db";
    const std::uint64_t nothing = memory_kib();
    const auto orchestrator = open(path);
    const std::uint64_t before = memory_kib();
    const auto begin = Time::now();
    start_all(*orchestrator, "sleeper", "s", sagas);
    std::printf(
        "sleeping: %llu sagas started in %.2f s; memory %llu KiB before the orchestrator, %llu "
        "with it, %llu with them; database %llu KiB\n",
        static_cast<unsigned long long>(sagas), seconds_since(begin),
        static_cast<unsigned long long>(nothing), static_cast<unsigned long long>(before),
        static_cast<unsigned long long>(memory_kib()),
        static_cast<unsigned long long>(std::filesystem::file_size(path) / 1024));
    return 0;
}

int starting(std::uint64_t ended, std::uint64_t running, const std::string& directory) {
    const Folder folder(directory);
    const std::string path = folder.path() + "/saga.db";
    {
        const auto orchestrator = open(path);
        orchestrator->run(std::make_unique<bench::NullTransport>(path)).ignore("it is checked");
        start_all(*orchestrator, "three", "s", 1);
        while (orchestrator->figures().completed < 1) std::this_thread::sleep_for(1ms);
        start_all(*orchestrator, "sleeper", "open", running);
        orchestrator->stop(10s).ignore("it is over");
    }
    {
        // As many as wanted of the one that has ended.
        auto database = sqlite::Database::open(path, sqlite::Database::Access::read_write);
        if (!database.ok()) die(database.error().text);
        const auto made = database.value().run(
            "PRAGMA synchronous = OFF; INSERT INTO ferry_saga(id, definition, state, revision, "
            "started_ms, ended_ms, body) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 "
            "FROM n WHERE x < " +
            std::to_string(ended) +
            ") SELECT 'ended' || x, definition, state, revision, started_ms, ended_ms, body FROM "
            "n, (SELECT * FROM ferry_saga WHERE id = 's0')");
        if (!made.ok()) die(made.error().text);
    }
    const auto begin = Time::now();
    const auto orchestrator = open(path);
    const double opened = seconds_since(begin);
    if (!orchestrator->start("three", "first", R"({"n":1})").ok()) die("cannot start a saga");
    std::printf("start: %llu ended and %llu open sagas: open in %.1f ms, first commit %.1f ms\n",
                static_cast<unsigned long long>(ended), static_cast<unsigned long long>(running),
                opened * 1000, seconds_since(begin) * 1000);
    return 0;
}

std::uint64_t number(const std::vector<std::string>& words, std::size_t at, std::uint64_t other) {
    return words.size() > at ? std::stoull(words[at]) : other;
}
std::string place(const std::vector<std::string>& words, std::size_t at) {
    return words.size() > at ? words[at] : std::string("/var/tmp");
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    const std::string what = words.empty() ? "null" : words[0];
    if (what == "null") return null_path(number(words, 1, 20'000), place(words, 2));
    if (what == "sleeping") return sleeping(number(words, 1, 100'000), place(words, 2));
    if (what == "start") {
        return starting(number(words, 1, 1'000'000), number(words, 2, 10'000), place(words, 3));
    }
    if ((what == "full" || what == "alone") && words.size() > 1) {
        const bool alone = what == "alone";
        const Folder folder(place(words, 3));
        return bench::full_path(words[1], number(words, 2, alone ? 500 : 20'000), folder.path(),
                                alone);
    }
    die("usage: saga_bench null|sleeping|start|full FERRYD|alone FERRYD; its source says more");
}
