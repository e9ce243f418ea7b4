#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "ferry/outbox/outbox.hpp"
#include "ferry/outbox/state.hpp"
#include "ferry/sqlite/database.hpp"

namespace ferry::outbox {

/// A directory of its own for each test, and connections as an application would make them.
class OutboxTest : public testing::Test {
protected:
    OutboxTest() {
        // In memory where there is such a place: these tests sync thousands of times.
        const std::string parent = std::filesystem::exists("/dev/shm")
                                       ? "/dev/shm"
                                       : std::filesystem::temp_directory_path().string();
        std::string name = parent + "/ferry-outbox-XXXXXX";
        directory_ = ::mkdtemp(name.data());
        path_ = directory_ + "/app.db";
    }
    ~OutboxTest() override { std::filesystem::remove_all(directory_); }

    /// A connection in WAL mode, with synchronous=FULL and a busy timeout, and an orders table.
    [[nodiscard]] sqlite::Database connect(int busy_ms = 100) const {
        auto opened = sqlite::Database::open(path_, sqlite::Database::Access::create,
                                             std::chrono::milliseconds(busy_ms));
        EXPECT_TRUE(opened.ok()) << opened.error().text;
        sqlite::Database out = std::move(opened).value();
        run(out, "PRAGMA journal_mode=WAL");
        run(out, "CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY KEY, text TEXT UNIQUE)");
        return out;
    }
    /// An outbox on that connection, its tables made.
    static Outbox open(const sqlite::Database& database, Options options = {}) {
        options.init = true;
        auto opened = Outbox::open(database.handle(), options);
        EXPECT_TRUE(opened.ok()) << opened.error().text;
        return std::move(opened).value();
    }
    static void run(const sqlite::Database& database, std::string_view sql) {
        const sqlite::Status done = database.run(sql);
        ASSERT_TRUE(done.ok()) << sql << ": " << done.error().text;
    }
    [[nodiscard]] static std::int64_t number(const sqlite::Database& database,
                                             std::string_view sql) {
        const auto out = database.integer(sql);
        EXPECT_TRUE(out.ok()) << sql << ": " << (out.ok() ? "" : out.error().text);
        return out.ok() ? out.value().value_or(-1) : -1;
    }
    [[nodiscard]] static std::string text(const sqlite::Database& database, std::string_view sql) {
        const auto out = database.text(sql);
        EXPECT_TRUE(out.ok()) << sql << ": " << (out.ok() ? "" : out.error().text);
        return out.ok() ? out.value().value_or("NULL") : "";
    }
    [[nodiscard]] static std::int64_t pending(const sqlite::Database& database) {
        return number(database, "SELECT count(*) FROM ferry_outbox");
    }
    [[nodiscard]] static Message hello(std::string_view payload = "hello") {
        return Message{.routing_key = "orders", .payload = as_bytes(payload)};
    }
    /// What a call that had to fail said.
    template <class T>
    [[nodiscard]] static std::string said(const sqlite::Answer<T>& answer, sqlite::Kind kind) {
        EXPECT_FALSE(answer.ok());
        if (answer.ok()) return "it went well";
        EXPECT_EQ(sqlite::name_of(answer.error().kind), std::string(sqlite::name_of(kind)))
            << answer.error().text;
        return answer.error().text;
    }

    std::string directory_;
    std::string path_;
};

}  // namespace ferry::outbox
