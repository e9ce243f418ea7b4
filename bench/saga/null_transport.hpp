#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "ferry/consumer/source.hpp"
#include "ferry/sqlite/database.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"

namespace ferry::bench {

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

}  // namespace ferry::bench
