// What an orchestrator alone can do: three-step sagas against a null transport, which reads its
// outbox and answers every command at once. Every change is a durable transaction.
//
//   saga_bench [SAGAS] [DIRECTORY]

#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "ferry/saga/orchestrator.hpp"
#include "ferry/sqlite/database.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"

namespace {

using namespace ferry;
using SteadyClock = std::chrono::steady_clock;

struct Command {
    std::int64_t id = 0;
    std::string saga;
    std::string step;
};

/// The broker, the relay and all participants in one: what is in the outbox is answered.
class NullTransport final : public consumer::Source {
public:
    explicit NullTransport(const std::string& path)
        : database_(std::move(sqlite::Database::open(path, sqlite::Database::Access::read_write))
                        .value()),
          reader_([this] { read(); }) {}
    ~NullTransport() override {
        close();
        reader_.join();
    }

    Result<transport::Received> next(consumer::Duration timeout) override {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, timeout, [this] { return closed_ || !commands_.empty(); });
        if (closed_) return Error{Errc::not_found, 0, 0, "closed"};
        if (commands_.empty()) return Error{Errc::would_block, 0, 0, "nothing"};
        const Command command = std::move(commands_.front());
        commands_.pop_front();
        lock.unlock();
        return answer(command);
    }
    Result<std::vector<transport::DeliveryTag>> settle(
        std::span<const transport::DeliveryTag>) override {
        return std::vector<transport::DeliveryTag>{};
    }
    Status give_back(const transport::DeliveryTag&, consumer::Duration) override {
        return ok_status();
    }
    Status extend(std::span<const transport::DeliveryTag>, consumer::Duration) override {
        return ok_status();
    }
    Status dead_letter(const consumer::Incoming&, std::string_view reason) override {
        std::fprintf(stderr, "poison: %.*s\n", static_cast<int>(reason.size()), reason.data());
        return ok_status();
    }
    Result<consumer::Place> place() override {
        return consumer::Place{"replies", "log", static_cast<std::uint64_t>(last_.load())};
    }
    std::vector<transport::DeliveryTag> lost() override { return {}; }
    [[nodiscard]] bool connected() const override { return true; }
    void close() override {
        const std::scoped_lock lock(mutex_);
        closed_ = true;
        changed_.notify_all();
    }

private:
    void read() {
        auto rows = database_.prepare(
            "SELECT id, correlation_id, json_extract(headers, '$.ferry-saga-step') FROM "
            "ferry_outbox WHERE id > ?1 ORDER BY id LIMIT 2000",
            true);
        if (!rows.ok()) std::abort();
        for (;;) {
            std::deque<Command> found;
            rows.value().bind(1, last_.load());
            for (;;) {
                auto row = rows.value().step();
                if (!row.ok() || !row.value()) break;
                last_ = rows.value().integer(0);
                found.push_back(
                    {last_, std::string(rows.value().text(1)), std::string(rows.value().text(2))});
            }
            const bool none = found.empty();
            {
                const std::scoped_lock lock(mutex_);
                if (closed_) return;
                for (Command& one : found) commands_.push_back(std::move(one));
            }
            changed_.notify_one();
            if (none) std::this_thread::sleep_for(std::chrono::microseconds(500));
        }
    }
    static transport::Received answer(const Command& command) {
        wire::Message message;
        message.routing_key = "replies";
        message.payload = "{}";
        message.properties.id = std::string(32, 'a') + ":1:" + std::to_string(command.id);
        message.properties.correlation_id = command.saga;
        message.properties.ordering_key = command.saga;
        message.properties.headers = {{"ferry-saga-step", command.step},
                                      {"ferry-saga-op", std::string("act")},
                                      {"ferry-saga-answer", std::string("done")}};
        auto bytes = std::make_shared<std::vector<std::byte>>();
        wire::Encoder encoder(*bytes);
        wire::write_message(encoder, message);
        transport::Received received;
        wire::Cursor cursor(*bytes);
        if (!wire::read_message(cursor, received.delivery.message)) std::abort();
        received.bytes = std::move(bytes);
        received.delivery.position = static_cast<std::uint64_t>(command.id);
        received.delivery.attempt = 1;
        received.delivery.token = received.delivery.position;
        received.delivery.tag = {1, received.delivery.position, 1};
        return received;
    }

    sqlite::Database database_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Command> commands_;
    std::atomic<std::int64_t> last_{0};
    bool closed_ = false;
    std::thread reader_;
};

saga::Definition three_steps() {
    using namespace std::chrono_literals;
    saga::Builder b("three");
    b.deadline(1h);
    for (const char* step : {"a", "b", "c"}) b.step(step).command(step).compensation("undo");
    return std::move(b.build()).value();
}

}  // namespace

int main(int argc, char** argv) {
    const std::uint64_t sagas = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20'000;
    std::string pattern = argc > 2 ? std::string(argv[2]) + "/saga-bench-XXXXXX"
                                   : std::string("/var/tmp/saga-bench-XXXXXX");
    if (::mkdtemp(pattern.data()) == nullptr) return 1;
    const std::string path = pattern + "/saga.db";
    if (auto made = saga::Orchestrator::init(path); !made.ok()) {
        std::fprintf(stderr, "%s\n", made.error().text.c_str());
        return 1;
    }
    {
        saga::OrchestratorOptions options;
        options.database = path;
        auto opened = saga::Orchestrator::open(options);
        if (!opened.ok()) return 1;
        saga::Orchestrator& orchestrator = *opened.value();
        if (!orchestrator.add(three_steps()).ok()) return 1;
        if (!orchestrator.run(std::make_unique<NullTransport>(path)).ok()) return 1;
        const auto began = SteadyClock::now();
        for (std::uint64_t i = 0; i < sagas; ++i) {
            orchestrator.start_async("three", "s" + std::to_string(i), R"({"n":1})", {});
        }
        while (orchestrator.figures().completed < sagas) {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        const double seconds = std::chrono::duration<double>(SteadyClock::now() - began).count();
        const saga::SagaFigures figures = orchestrator.figures();
        std::printf("%llu sagas of three steps in %.2f s: %.0f sagas/s, %llu transactions\n",
                    static_cast<unsigned long long>(sagas), seconds,
                    static_cast<double>(sagas) / seconds,
                    static_cast<unsigned long long>(figures.transactions));
        orchestrator.stop(std::chrono::seconds(10)).ignore("it is over");
    }
    std::error_code ignored;
    std::filesystem::remove_all(pattern, ignored);
    return 0;
}
