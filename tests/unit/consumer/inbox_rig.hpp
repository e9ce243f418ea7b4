#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "fake_source.hpp"
#include "ferry/consumer/inbox.hpp"
#include "ferry/outbox/outbox.hpp"

namespace ferry::test {

/// A database of its own with an inbox, and a table of effects.
struct InboxRig {
    explicit InboxRig(bool with_outbox = false) {
        // In memory where there is such a place: these tests sync thousands of times.
        const std::filesystem::path parent = std::filesystem::exists("/dev/shm")
                                                 ? std::filesystem::path("/dev/shm")
                                                 : std::filesystem::temp_directory_path();
        std::string pattern = parent / "ferry-inbox-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no directory");
        directory = pattern;
        path = directory + "/app.db";
        must(consumer::Inbox::init(path));
        auto opened = sqlite::Database::open(path, sqlite::Database::Access::read_write);
        if (!opened.ok()) throw std::runtime_error(opened.error().text);
        database.emplace(std::move(opened).value());
        must(database->run("CREATE TABLE effect(id TEXT, who TEXT DEFAULT '')"));
        if (with_outbox) {
            outbox::Options options;
            options.init = true;
            auto made = outbox::Outbox::open(path, options);
            if (!made.ok()) throw std::runtime_error(made.error().text);
        }
    }
    ~InboxRig() {
        database.reset();
        std::error_code ignored;
        std::filesystem::remove_all(directory, ignored);
    }

    static void must(const sqlite::Status& status) {
        if (!status.ok()) throw std::runtime_error(status.error().text);
    }
    std::unique_ptr<consumer::Inbox> inbox(consumer::InboxOptions options = named("c")) {
        auto opened = consumer::Inbox::open(path, std::move(options));
        if (!opened.ok()) throw std::runtime_error(opened.error().text);
        return std::move(opened).value();
    }
    static consumer::InboxOptions named(const std::string& name) {
        consumer::InboxOptions options;
        options.consumer = name;
        options.busy_timeout = std::chrono::milliseconds(50);
        return options;
    }
    std::int64_t count(const std::string& sql) const {
        auto answer = database->integer(sql);
        if (!answer.ok()) throw std::runtime_error(answer.error().text);
        return answer.value().value_or(0);
    }
    std::int64_t effects() const { return count("SELECT count(*) FROM effect"); }
    std::int64_t ranges() const { return count("SELECT count(*) FROM ferry_inbox_range"); }

    /// Writes one row that names the message.
    static consumer::Handled effect(consumer::Effects& effects) {
        effects.run("INSERT INTO effect(id) VALUES(?1)", effects.message().id());
        return consumer::Handled::done();
    }

    std::string directory;
    std::string path;
    std::optional<sqlite::Database> database;
};

}  // namespace ferry::test
