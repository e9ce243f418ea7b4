#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "broker_client.hpp"
#include "ferry/transport/client.hpp"

// Registrations and watches against the real broker.
namespace ferry::transport {
namespace {

using test::BrokerProcess;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
constexpr std::chrono::seconds long_enough{30};

class ServicesOfAClient : public ::testing::Test {
protected:
    ServicesOfAClient() {
        client = connect();
        watcher = connect();
    }
    std::unique_ptr<Client> connect() const {
        ClientOptions options = test::options_for(broker);
        options.publisher = false;
        return test::connect(options);
    }
    std::unique_ptr<Registration> enter(Client& by, std::string instance, Metadata metadata = {},
                                        std::string_view service = "prices") {
        RegisterOptions options;
        options.instance = std::move(instance);
        options.metadata = std::move(metadata);
        options.ttl_ms = 1'000;
        auto registered = by.register_service(service, options);
        EXPECT_TRUE(registered.ok()) << registered.error().text;
        return std::move(registered).value();
    }
    ServiceHandler note() {
        return [this](const ServiceChange& change) {
            static const char* const signs[] = {"+", "~", "-"};
            const std::lock_guard guard(mutex);
            seen.push_back(signs[static_cast<int>(change.kind)] + change.instance.instance);
            changed.notify_all();
        };
    }
    std::vector<std::string> wait_for(std::size_t count) {
        std::unique_lock guard(mutex);
        changed.wait_for(guard, long_enough, [&] { return seen.size() >= count; });
        return seen;
    }
    std::vector<std::string> listed(std::string_view service = "prices") const {
        std::vector<std::string> names;
        const auto page = watcher->list_services(service);
        EXPECT_TRUE(page.ok());
        for (const ServiceInstance& one : page.value().instances) names.push_back(one.instance);
        return names;
    }

    BrokerProcess broker;
    std::unique_ptr<Client> client;
    std::unique_ptr<Client> watcher;
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::string> seen;
};

// G109
TEST_F(ServicesOfAClient, are_listed_and_watched_in_order) {
    auto first = enter(*client, "a", {{"address", "10.0.0.7"}});
    const auto watch = watcher->watch_service("prices", note());
    ASSERT_TRUE(watch.ok()) << watch.error().text;
    EXPECT_THAT(wait_for(1), ElementsAre("+a"));
    ASSERT_EQ(watch.value()->instances().size(), 1U);
    EXPECT_EQ(watch.value()->instances()[0].metadata[0].second, "10.0.0.7");
    const auto second = enter(*client, "b");
    const auto elsewhere = enter(*client, "c", {}, "other");
    ASSERT_TRUE(first->update({{"address", "10.0.0.8"}}).ok());
    EXPECT_TRUE(first->unregister().ok());
    EXPECT_THAT(wait_for(4), ElementsAre("+a", "+b", "~a", "-a"));
    EXPECT_THAT(listed(), ElementsAre("b"));
    EXPECT_THAT(listed(""), ElementsAre("c", "b"));
}

TEST_F(ServicesOfAClient, are_kept_alive_and_go_with_who_registered_them) {
    const auto watch = watcher->watch_service("prices", note());
    ASSERT_TRUE(watch.ok());
    auto kept = enter(*client, "a");
    std::this_thread::sleep_for(std::chrono::milliseconds{2500});
    EXPECT_THAT(listed(), ElementsAre("a"));
    kept.reset();
    EXPECT_THAT(wait_for(2), ElementsAre("+a", "-a"));
}

TEST_F(ServicesOfAClient, go_when_nobody_keeps_them_alive) {
    const auto watch = watcher->watch_service("prices", note());
    ASSERT_TRUE(watch.ok());
    auto kept = enter(*client, "a");
    client.reset();  // without a word
    EXPECT_THAT(wait_for(2), ElementsAre("+a", "-a"));
}

TEST_F(ServicesOfAClient, come_back_by_themselves_after_a_restart_of_the_broker) {
    const auto watch = watcher->watch_service("prices");
    ASSERT_TRUE(watch.ok());
    const auto kept = enter(*client, "a");
    broker.kill();
    broker.start();
    const auto deadline = std::chrono::steady_clock::now() + long_enough;
    const auto back = [&] {
        return watcher->connected() && client->connected() && listed().size() == 1 &&
               watch.value()->instances().size() == 1;
    };
    while (!back() && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    EXPECT_TRUE(back());
}

TEST_F(ServicesOfAClient, snapshots_of_thousands_come_whole) {
    std::vector<std::unique_ptr<Registration>> all;
    for (int i = 0; i < 1500; ++i) {
        RegisterOptions options;
        options.instance = std::to_string(i);
        options.metadata = {{"address", std::string(200, 'x')}};
        options.ttl_ms = 60'000;
        auto registered = client->register_service("prices", options);
        ASSERT_TRUE(registered.ok()) << registered.error().text;
        all.push_back(std::move(registered).value());
    }
    const auto watch = watcher->watch_service("");
    ASSERT_TRUE(watch.ok());
    EXPECT_EQ(watch.value()->instances().size(), 1500U);
}

TEST_F(ServicesOfAClient, are_refused_when_they_are_out_of_bounds) {
    RegisterOptions options;
    options.ttl_ms = 10;
    const auto brief = client->register_service("prices", options);
    ASSERT_FALSE(brief.ok());
    EXPECT_EQ(brief.error().wire_code, wire::Code::bad_option);
    options.ttl_ms = 1'000;
    options.metadata.assign(33, {"name", "value"});
    EXPECT_FALSE(client->register_service("prices", options).ok());
    options.metadata.clear();
    EXPECT_FALSE(client->register_service("no such name", options).ok());
    EXPECT_THAT(listed(""), IsEmpty());
}

}  // namespace
}  // namespace ferry::transport
