// The answering side of prepared messages, over a real broker.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <set>

#include "broker_process.hpp"
#include "fake_source.hpp"
#include "ferry/consumer/check_back.hpp"
#include "ferry/outbox/decision.hpp"
#include "ferry/platform/clock.hpp"

namespace ferry::consumer {
namespace {

using test::eventually;
using wire::Code;

class CheckBackOverBroker : public testing::Test {
protected:
    void SetUp() override {
        std::string name = std::filesystem::temp_directory_path() / "ferry-checkback-XXXXXX";
        directory = ::mkdtemp(name.data());
        path = directory + "/shop.db";
        auto opened = sqlite::Database::open(path, sqlite::Database::Access::create);
        ASSERT_TRUE(opened.ok());
        shop.emplace(std::move(opened).value());
        ASSERT_TRUE(outbox::init_decisions(*shop).ok());
        transport::ClientOptions options;
        options.url = broker.url();
        auto connected = transport::Client::connect(options);
        ASSERT_TRUE(connected.ok()) << connected.error().text;
        client = std::move(connected).value();
        ASSERT_TRUE(client->declare_queue("payments").ok());
        ASSERT_TRUE(client->declare_queue("checks").ok());
    }
    void TearDown() override {
        client.reset();
        shop.reset();
        std::filesystem::remove_all(directory);
    }

    transport::Answer<transport::PreparedResult> prepare(const std::string& id,
                                                         std::uint32_t max_checks = 0) {
        transport::Message message;
        message.routing_key = "payments";
        message.payload = id;
        transport::PrepareOptions options;
        options.id = id;
        options.check_queue = "checks";
        options.check_after_ms = 100;
        options.max_checks = max_checks;
        return client->prepare(message, options);
    }
    void commit(const std::string& id) {
        auto transaction = sqlite::Transaction::begin(*shop);
        ASSERT_TRUE(transaction.ok());
        ASSERT_TRUE(outbox::decide(*shop, id).ok());
        ASSERT_TRUE(transaction.value().commit().ok());
    }
    CheckBackOptions serving() {
        CheckBackOptions options;
        options.database = path;
        options.queue = "checks";
        return options;
    }
    std::uint64_t ready(const std::string& queue = "payments") {
        const auto info = client->show_queue(queue);
        return info.ok() ? info.value().ready : 1'000'000;
    }
    std::size_t in_doubt() {
        const auto page = client->list_prepared();
        return page.ok() ? page.value().prepared.size() : 1'000'000;
    }
    std::int64_t rows() {
        return shop->integer("SELECT count(*) FROM ferry_decision").value().value_or(-1);
    }

    test::BrokerProcess broker;
    std::unique_ptr<transport::Client> client;
    std::string directory;
    std::string path;
    std::optional<sqlite::Database> shop;
};

// G85, G86
TEST_F(CheckBackOverBroker, TheClientPreparesSubmitsDropsAndRepeats) {
    const auto prepared = prepare("a");
    ASSERT_TRUE(prepared.ok()) << prepared.error().text;
    EXPECT_EQ(prepared.value().id, "a");
    EXPECT_FALSE(prepared.value().duplicate);
    EXPECT_TRUE(prepare("a").value().duplicate);
    EXPECT_EQ(ready(), 0U);
    EXPECT_FALSE(client->submit("a").value().duplicate);
    EXPECT_TRUE(client->submit("a").value().duplicate);
    EXPECT_EQ(client->drop("a").error().wire_code, Code::prepared_decided);
    EXPECT_EQ(ready(), 1U);
    const auto pulled = client->pull("payments");
    ASSERT_EQ(pulled.value().messages.size(), 1U);
    wire::Properties properties;
    ASSERT_TRUE(
        wire::read_properties(pulled.value().messages[0].delivery.message.properties, properties));
    EXPECT_EQ(properties.id, "a") << "consumers can tell it from others";
    ASSERT_TRUE(prepare("b").ok());
    ASSERT_TRUE(client->drop("b").ok());
    EXPECT_EQ(client->submit("b").error().wire_code, Code::prepared_decided);
    EXPECT_EQ(client->show_prepared("b").error().wire_code, Code::no_such_prepared);
    transport::Message message;
    message.routing_key = "payments";
    transport::PrepareOptions unnamed;
    unnamed.check_queue = "checks";
    const auto one = client->prepare(message, unnamed);
    const auto two = client->prepare(message, unnamed);
    ASSERT_TRUE(one.ok() && two.ok());
    EXPECT_NE(one.value().id, two.value().id);
    unnamed.check_queue = "missing";
    EXPECT_EQ(client->prepare(message, unnamed).error().wire_code, Code::no_such_queue);
}

// G88, M1, M2: who prepared is gone; the rows answer.
TEST_F(CheckBackOverBroker, RowsAnswerForProducersThatAreGoneWhileTheBrokerIsKilled) {
    for (int i = 0; i < 40; ++i) {
        const std::string id = "order-" + std::to_string(i);
        ASSERT_TRUE(prepare(id).ok());
        if (i % 2 == 0) commit(id);
    }
    auto serving_side = CheckBack::start(*client, serving());
    ASSERT_TRUE(serving_side.ok()) << serving_side.error().text;
    broker.kill();
    broker.start();
    ASSERT_TRUE(eventually([&] { return in_doubt() == 0; }));
    EXPECT_EQ(ready(), 20U);
    EXPECT_EQ(
        shop->integer("SELECT count(*) FROM ferry_decision WHERE outcome = 'rolled back'").value(),
        20);
    EXPECT_TRUE(eventually([&] { return ready("checks") == 0; }));
    EXPECT_TRUE(serving_side.value()->stop(Duration(10'000)).ok());
}

// G88: an operator was faster; the row stands, and it is told.
TEST_F(CheckBackOverBroker, ADecisionThatContradictsTheRowIsTold) {
    std::mutex mutex;
    std::string told;
    ASSERT_TRUE(prepare("a").ok());
    commit("a");
    ASSERT_TRUE(eventually([&] { return ready("checks") == 1; }));
    ASSERT_TRUE(client->drop("a").ok());
    CheckBackOptions options = serving();
    options.on_event = [&](std::string_view line) {
        const std::lock_guard lock(mutex);
        told += line;
    };
    auto serving_side = CheckBack::start(*client, options);
    ASSERT_TRUE(serving_side.ok());
    ASSERT_TRUE(eventually([&] { return serving_side.value()->figures().conflicts == 1; }));
    const std::lock_guard lock(mutex);
    EXPECT_THAT(told, testing::HasSubstr("'a' is committed here"));
    EXPECT_EQ(ready(), 0U);
}

// G89
TEST_F(CheckBackOverBroker, OldDecisionsAreForgottenButNotThoseOfWhatIsStillPrepared) {
    ASSERT_TRUE(prepare("stays").ok());
    for (const char* id : {"stays", "goes", "young"}) commit(id);
    const auto old = static_cast<std::int64_t>(system_clock().now().wall_ms) - 7'200'000;
    ASSERT_TRUE(shop->run("UPDATE ferry_decision SET decided_ms = " + std::to_string(old) +
                          " WHERE id <> 'young'")
                    .ok());
    ASSERT_TRUE(eventually([&] { return ready("checks") == 1; }));
    ASSERT_TRUE(client->declare_queue("elsewhere").ok());
    CheckBackOptions options = serving();
    options.queue = "elsewhere";  // so that nobody decides meanwhile
    options.retain = check_retain_min;
    auto serving_side = CheckBack::start(*client, options);
    ASSERT_TRUE(serving_side.ok()) << serving_side.error().text;
    EXPECT_EQ(serving_side.value()->tidy().value(), 1U);
    EXPECT_EQ(rows(), 2);
    ASSERT_TRUE(client->submit("stays").ok());
    EXPECT_EQ(serving_side.value()->tidy().value(), 1U);
    EXPECT_EQ(rows(), 1);
    options.retain = Duration(1000);
    EXPECT_FALSE(CheckBack::start(*client, options).ok());
}

// G88: another store decides by a function.
TEST_F(CheckBackOverBroker, AFunctionMayAnswerInsteadOfTheTable) {
    ASSERT_TRUE(prepare("yes").ok());
    ASSERT_TRUE(prepare("no").ok());
    ASSERT_TRUE(prepare("wait").ok());
    std::atomic<int> asked{0};
    CheckBackOptions options;
    options.queue = "checks";
    options.answer = [&](const Check& check) -> CheckReply {
        if (check.id == "yes") return {CheckReply::Kind::submit, {}};
        if (check.id == "no") return {CheckReply::Kind::drop, {}};
        return {++asked < 3 ? CheckReply::Kind::unknown : CheckReply::Kind::drop, "not yet"};
    };
    auto serving_side = CheckBack::start(*client, options);
    ASSERT_TRUE(serving_side.ok());
    ASSERT_TRUE(eventually([&] { return in_doubt() == 0; }));
    EXPECT_EQ(ready(), 1U);
    EXPECT_EQ(serving_side.value()->figures().unknown, 2U);
}

}  // namespace
}  // namespace ferry::consumer
