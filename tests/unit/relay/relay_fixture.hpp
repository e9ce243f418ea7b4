#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "fake_sequenced.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/outbox/relay.hpp"
#include "ferry/outbox/state.hpp"

namespace ferry::outbox::relay {

/// An application's database with an outbox, and a broker in memory.
class RelayFixture : public ::testing::Test {
protected:
    RelayFixture() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "ferry-relay-XXXXXX").string();
        EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
        directory_ = pattern;
    }
    ~RelayFixture() override {
        relay_.reset();
        app_.reset();
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    [[nodiscard]] std::string file(const std::string& name = "app.db") const {
        return directory_ + "/" + name;
    }
    static Outbox open_app(const std::string& path, bool hook = true) {
        outbox::Options options;
        options.init = true;
        options.wake_hook = hook;
        auto opened = Outbox::open(path, options);
        EXPECT_TRUE(opened.ok()) << opened.error().text;
        return std::move(opened).value();
    }
    Outbox& app() {
        if (!app_.has_value()) app_.emplace(open_app(file()));
        return *app_;
    }
    static void commit(Outbox& to, const std::vector<std::string>& payloads,
                       std::string_view key = {}) {
        ASSERT_TRUE(to.database().run("BEGIN IMMEDIATE").ok());
        for (const std::string& payload : payloads) {
            Message message;
            message.routing_key = "q";
            message.payload = as_bytes(payload);
            message.ordering_key = key;
            const auto stored = to.enqueue(message);
            ASSERT_TRUE(stored.ok()) << stored.error().text;
        }
        ASSERT_TRUE(to.database().run("COMMIT").ok());
    }
    void commit(const std::vector<std::string>& payloads, std::string_view key = {}) {
        commit(app(), payloads, key);
    }

    Options options_for(const std::string& path) {
        Options options;
        options.database = path;
        options.publisher = [this](transport::SequencedEvents& events) {
            return transport::Answer<std::unique_ptr<transport::SequencedPublisher>>(
                broker_.connect(events));
        };
        options.rules.backoff_min_ms = 2;
        options.rules.backoff_max_ms = 50;
        options.fallback_ms = 50;
        options.lease_ms = 2000;
        options.log = [this](LogLevel, std::string_view line) {
            const std::lock_guard lock(log_mutex_);
            log_ += std::string(line) + "\n";
        };
        return options;
    }
    static std::unique_ptr<Relay> start(Options options) {
        auto started = Relay::start(std::move(options));
        EXPECT_TRUE(started.ok()) << started.error().text;
        return std::move(started).value();
    }
    Relay& relay() {
        if (!relay_) {
            app();
            relay_ = start(options_for(file()));
        }
        return *relay_;
    }
    std::string log() {
        const std::lock_guard lock(log_mutex_);
        return log_;
    }
    void forget_log() {
        const std::lock_guard lock(log_mutex_);
        log_.clear();
    }

    static bool eventually(const std::function<bool()>& holds) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!holds()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        return true;
    }
    static std::int64_t number(const Outbox& of, const std::string& sql) {
        const auto value = of.database().integer(sql);
        EXPECT_TRUE(value.ok()) << value.error().text;
        return value.ok() ? value.value().value_or(-1) : -1;
    }
    std::int64_t number(const std::string& sql) { return number(app(), sql); }
    std::int64_t pending() { return number("SELECT count(*) FROM ferry_outbox"); }
    bool all_marked() {
        return eventually([this] { return pending() == 0; });
    }
    static std::vector<std::string> names(int first, int last) {
        std::vector<std::string> all;
        for (int i = first; i <= last; ++i) all.push_back(std::to_string(i));
        return all;
    }

    std::string directory_;
    test::MemoryBroker broker_;
    std::mutex log_mutex_;
    std::string log_;
    std::optional<Outbox> app_;
    std::unique_ptr<Relay> relay_;
};

}  // namespace ferry::outbox::relay
