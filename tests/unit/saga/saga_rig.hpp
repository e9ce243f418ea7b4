#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "fake_source.hpp"
#include "ferry/outbox/message.hpp"
#include "ferry/saga/admin.hpp"
#include "ferry/saga/orchestrator.hpp"
#include "ferry/saga/participant.hpp"

namespace ferry::saga {

/// An orchestrator and one participant in databases of their own; the broker between them is two
/// loops over their outboxes.
class SagaRig : public ::testing::Test {
protected:
    SagaRig() {
        std::string pattern = (std::filesystem::temp_directory_path() / "ferry-saga-XXXXXX");
        EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
        directory = pattern;
        must(Orchestrator::init(path("saga.db")));
        must(Participant::init(path("shop.db")));
        saga_db.emplace(open("saga.db"));
        shop_db.emplace(open("shop.db"));
        must(
            shop_db->run("CREATE TABLE effect(saga TEXT, step TEXT, times INTEGER, "
                         "PRIMARY KEY(saga, step))"));
        for (const char* queue : {"a", "b", "c", "undo"}) queues[queue];
        start_participant();
    }
    ~SagaRig() override {
        orchestrator.reset();
        participant.reset();
        admin_.reset();
        saga_db.reset();
        shop_db.reset();
        std::error_code ignored;
        std::filesystem::remove_all(directory, ignored);
    }

    [[nodiscard]] std::string path(const std::string& name) const { return directory + "/" + name; }
    static void must(const sqlite::Status& status) {
        ASSERT_TRUE(status.ok()) << status.error().text;
    }
    sqlite::Database open(const std::string& name) {
        auto opened = sqlite::Database::open(path(name), sqlite::Database::Access::read_write);
        if (!opened.ok()) std::abort();
        return std::move(opened).value();
    }

    void start_orchestrator(OrchestratorOptions options = {}) {
        orchestrator.reset();
        options.database = path("saga.db");
        auto opened = Orchestrator::open(std::move(options));
        ASSERT_TRUE(opened.ok()) << opened.error().text;
        orchestrator = std::move(opened).value();
        ASSERT_TRUE(orchestrator->run(queues[orchestrator->queue()].source()).ok());
    }
    /// Adds one to `effect` for each act, takes it away with undo. What `fail` names fails.
    void start_participant() {
        ParticipantOptions options;
        options.database = path("shop.db");
        options.name = "shop";
        auto opened = Participant::open(options);
        ASSERT_TRUE(opened.ok()) << opened.error().text;
        participant = std::move(opened).value();
        for (const char* queue : {"a", "b", "c"}) {
            participant->act(queue, [this](Call& call) {
                if (fail == call.step) return Said::failed("no " + call.step);
                if (again == call.step) return Said::again("not now");
                call.effects.run(
                    "INSERT INTO effect VALUES(?1, ?2, 1) ON CONFLICT DO UPDATE SET times = "
                    "times + 1",
                    std::string_view(call.saga), std::string_view(call.step));
                return Said::done(R"({"step":")" + call.step + "\"}");
            });
        }
        participant->undo("undo", [this](Call& call) {
            if (stubborn) return Said::failed("cannot undo");
            call.effects.run("UPDATE effect SET times = times - 1 WHERE saga = ?1 AND step = ?2",
                             std::string_view(call.saga), std::string_view(call.step));
            return Said::done();
        });
        for (const char* queue : {"a", "b", "c", "undo"}) {
            ASSERT_TRUE(participant->run(queues[queue].source(), queue).ok());
        }
    }

    static Definition three(const std::string& name = "three", std::uint32_t version = 1) {
        using namespace std::chrono_literals;
        Builder b(name, version);
        b.deadline(1h);
        for (const char* step : {"a", "b", "c"}) {
            b.step(step).command(step).compensation("undo").timeout(5s);
        }
        auto built = b.build();
        return std::move(built).value();
    }

    /// Carries what both outboxes hold to the queues, once each.
    void pump() {
        carry(*saga_db, 's', sent_[0]);
        carry(*shop_db, 'p', sent_[1]);
    }
    void carry(const sqlite::Database& from, char producer, std::int64_t& last) {
        auto rows = from.prepare(
            "SELECT id, routing_key, payload, ordering_key, headers, correlation_id, reply_to FROM "
            "ferry_outbox WHERE id > ?1 ORDER BY id");
        ASSERT_TRUE(rows.ok());
        sqlite::Statement& row = rows.value();
        row.bind(1, last);
        for (;;) {
            auto more = row.step();
            ASSERT_TRUE(more.ok());
            if (!more.value()) return;
            last = row.integer(0);
            test::Sent sent;
            sent.routing_key = row.text(1);
            sent.payload = std::string(as_text(row.bytes(2)));
            sent.key = row.text(3);
            auto headers = outbox::headers_from_json(row.text(4));
            if (headers.ok()) sent.headers = headers.value();
            sent.correlation_id = row.text(5);
            sent.reply_to = row.text(6);
            sent.id =
                test::outbox_id(static_cast<std::uint64_t>(last), 1, producer == 's' ? 'a' : 'b');
            if (!hold.contains(sent.routing_key)) queues[sent.routing_key].send(sent);
            if (twice) {
                queues[sent.routing_key].send(sent);
                sent.id += "0";  // another message that says the same
                queues[sent.routing_key].send(sent);
            }
        }
    }
    /// What was held back arrives after all, and everything else once more.
    void clear_sent() { sent_[0] = sent_[1] = 0; }
    bool until(const std::function<bool()>& condition) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        for (;;) {
            pump();
            if (condition()) return true;
            if (std::chrono::steady_clock::now() > deadline) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    }
    Admin& admin() {
        if (!admin_) {
            auto opened = Admin::open(path("saga.db"), false);
            if (!opened.ok()) std::abort();
            admin_ = std::move(opened).value();
        }
        return *admin_;
    }
    SagaState state(const std::string& id) {
        auto view = admin().show(id);
        EXPECT_TRUE(view.ok()) << id;
        return view.ok() ? view.value().row.state : SagaState::running;
    }
    bool comes_to(const std::string& id, SagaState wanted) {
        return until([&] { return state(id) == wanted; });
    }
    void start(const std::string& id, const std::string& definition = "three",
               const std::string& input = "{}") {
        auto started = orchestrator->start(definition, id, input);
        ASSERT_TRUE(started.ok()) << started.error().text;
    }
    std::int64_t effects(const std::string& saga) {
        return number(*shop_db,
                      "SELECT coalesce(sum(times), 0) FROM effect WHERE saga = '" + saga + "'");
    }
    static std::int64_t number(const sqlite::Database& db, const std::string& sql) {
        auto value = db.integer(sql);
        EXPECT_TRUE(value.ok()) << value.error().text;
        return value.ok() ? value.value().value_or(-1) : -1;
    }

    std::string directory;
    std::map<std::string, test::FakeQueue> queues;
    std::set<std::string> hold;  // queues whose messages do not arrive
    bool twice = false;
    std::string fail, again;  // set before messages flow
    std::atomic<bool> stubborn{false};
    std::optional<sqlite::Database> saga_db, shop_db;
    std::unique_ptr<Orchestrator> orchestrator;
    std::unique_ptr<Participant> participant;

private:
    std::unique_ptr<Admin> admin_;
    std::int64_t sent_[2] = {0, 0};
};

}  // namespace ferry::saga
