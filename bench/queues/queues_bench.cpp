// What queue features cost beside a plain queue, on a running broker, taking turns:
//
//   tx          each delivery is answered by two publishes and its ack, as one transaction; beside
//   it
//               the same by two publishes and an ack that have nothing to do with one another
//   priorities  end to end through a queue that heeds priorities, ten of them, one per publish
//               burst
//   mixed       the same with another priority for each message
//   ordered     end to end through an ordered queue, messages of 1,000 keys by chance; the plain
//               queue gets the same ones
//   dedupe      end to end through a queue that remembers ids; the plain queue gets them as well
//
// Usage: queues_bench MODE [COUNT [URL [PID OF FERRYD]]]
// With the process the broker's processor time is told, too: on a machine that does other work it
// is what can be compared.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "cpu_meter.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/transport/client.hpp"

namespace {

using namespace ferry;
using namespace ferry::transport;
using Clock = std::chrono::steady_clock;
constexpr Timeout patience{120'000};
constexpr int rounds = 3;

[[noreturn]] void die(const std::string& why) {
    std::fprintf(stderr, "queues_bench: %s\n", why.c_str());
    std::exit(1);
}

struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    std::uint64_t done = 0;

    void add(std::uint64_t n, std::uint64_t wanted) {
        const std::lock_guard lock(mutex);
        done += n;
        if (done >= wanted) changed.notify_all();
    }
    void wait(std::uint64_t wanted) {
        std::unique_lock lock(mutex);
        if (!changed.wait_for(lock, patience, [&] { return done >= wanted; })) die("it hangs");
    }
};

class Bench {
public:
    Bench(std::uint64_t count, std::string url) : count_(count), url_(std::move(url)) {}

    std::unique_ptr<Client> connect() const {
        ClientOptions options;
        options.url = url_;
        auto client = Client::connect(options);
        if (!client.ok()) die(client.error().text);
        return std::move(client).value();
    }
    void fresh(Client& client, const std::string& queue, const QueueOptions& options = {}) const {
        client.delete_queue(queue).ignore("it may not be there");
        const auto made = client.declare_queue(queue, options);
        if (!made.ok()) die(made.error().text);
    }
    [[nodiscard]] double rate(Clock::time_point from) const {
        return static_cast<double>(count_) /
               std::chrono::duration<double>(Clock::now() - from).count();
    }

    /// Deliveries answered each second.
    double answer(bool transactions) const {
        const auto client = connect();
        for (const char* queue : {"bench-in", "bench-out", "bench-audit"}) fresh(*client, queue);
        const std::string payload(100, 'x');
        const std::vector<Bytes> batch(500, as_bytes(payload));
        for (std::uint64_t sent = 0; sent < count_; sent += batch.size()) {
            if (!client->enqueue_many("", "bench-in", batch).ok()) die("publishing failed");
        }
        if (!client->flush(patience).ok()) die("the backlog is not confirmed");
        ClientOptions options;
        options.url = url_;
        Gate gate;
        const std::uint64_t wanted = transactions ? count_ : 2 * count_;
        options.on_confirm = [&](std::uint64_t first, std::uint64_t last, const Outcome& outcome) {
            if (!outcome.ok()) die("refused: " + std::string(outcome.text));
            if (!transactions) gate.add(last - first + 1, wanted);
        };
        auto connected = Client::connect(options);
        if (!connected.ok()) die(connected.error().text);
        Client& worker = *connected.value();
        const auto with_transaction = [&](const Delivery& delivery) {
            Transaction tx = worker.transaction();
            bool good = tx.enqueue("", "bench-out", as_bytes(payload)).ok() &&
                        tx.enqueue("", "bench-audit", as_bytes(payload)).ok() &&
                        tx.ack(delivery.tag).ok();
            good = good && tx.commit_async([&](const Answer<Committed>& outcome) {
                                 if (!outcome.ok()) die(outcome.error().text);
                                 gate.add(1, wanted);
                             }).ok();
            if (!good) die("a transaction could not be made");
        };
        const auto apart = [&](const Delivery& delivery) {
            const bool good = worker.enqueue("", "bench-out", as_bytes(payload)).ok() &&
                              worker.enqueue("", "bench-audit", as_bytes(payload)).ok() &&
                              worker.ack(delivery.tag).ok();
            if (!good) die("publishing failed");
        };
        // Not in the subscription's callback, which must not wait: a transaction's acks make room
        // for deliveries at once, its answer comes when it is durable, so more of them can be under
        // way than the client takes.
        SubscribeOptions window;
        window.window_messages = 1000;
        const auto began = Clock::now();
        const auto subscription = worker.subscribe("bench-in", window);
        if (!subscription.ok()) die(subscription.error().text);
        for (std::uint64_t i = 0; i < count_; ++i) {
            const auto received = subscription.value()->next(patience);
            if (!received.ok()) die("a delivery is missing");
            transactions ? with_transaction(received.value().delivery)
                         : apart(received.value().delivery);
        }
        gate.wait(wanted);
        return rate(began);
    }

    /// Messages end to end each second; `properties` of the n-th.
    double end_to_end(const QueuePolicy& policy,
                      const std::function<void(std::uint64_t, Properties&)>& properties) const {
        const auto publisher = connect();
        const auto consumer = connect();
        QueueOptions options;
        options.policy = policy;
        fresh(*publisher, "bench-q", options);
        Gate gate;
        SubscribeOptions window;
        window.window_messages = 4096;
        const auto subscription =
            consumer->subscribe("bench-q", window, [&](std::span<const Delivery> deliveries) {
                for (const Delivery& delivery : deliveries) {
                    if (!consumer->ack(delivery.tag).ok()) die("an ack failed");
                }
                gate.add(deliveries.size(), count_);
            });
        if (!subscription.ok()) die(subscription.error().text);
        const std::string payload(100, 'x');
        std::vector<std::byte> bytes;
        const auto began = Clock::now();
        for (std::uint64_t i = 0; i < count_; ++i) {
            Properties mine;
            properties(i, mine);
            bytes.clear();
            wire::Encoder encoder(bytes);
            wire::write_properties(encoder, mine);
            if (!publisher->enqueue("", "bench-q", as_bytes(payload), bytes).ok())
                die("publishing failed");
        }
        gate.wait(count_);
        return rate(began);
    }

    /// Messages with ordering keys end to end each second, each frame of them acked at once.
    double keyed(bool ordered) const {
        const auto publisher = connect();
        const auto consumer = connect();
        QueueOptions options;
        options.ordered = ordered;
        fresh(*publisher, "bench-q", options);
        Gate gate;
        SubscribeOptions window;
        window.window_messages = 4096;
        std::shared_ptr<Subscription> subscription;  // there before the first delivery
        auto subscribed =
            consumer->subscribe("bench-q", window, [&](std::span<const Delivery> deliveries) {
                const DeliveryTag& last = deliveries.back().tag;
                if (!subscription->ack_range(deliveries.front().tag, last).ok())
                    die("an ack failed");
                gate.add(deliveries.size(), count_);
            });
        if (!subscribed.ok()) die(subscribed.error().text);
        subscription = std::move(subscribed).value();
        std::vector<std::vector<std::byte>> keys(1'000);
        for (std::size_t i = 0; i < keys.size(); ++i) {
            Properties mine;
            mine.ordering_key = "key-" + std::to_string(i);
            wire::Encoder encoder(keys[i]);
            wire::write_properties(encoder, mine);
        }
        SeededRandom random(1);
        const std::string payload(100, 'x');
        const auto began = Clock::now();
        for (std::uint64_t i = 0; i < count_; ++i) {
            const auto& properties = keys[random.below(keys.size())];
            if (!publisher->enqueue("", "bench-q", as_bytes(payload), properties).ok())
                die("publishing failed");
        }
        gate.wait(count_);
        return rate(began);
    }

private:
    std::uint64_t count_;
    std::string url_;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

struct Figures {
    std::vector<double> rate;
    std::vector<double> broker_us;
    std::vector<double> client_us;
};

void compare(const char* what, std::uint64_t count, int broker_pid,
             const std::function<double(bool)>& measure) {
    Figures plain;
    Figures featured;
    const auto run = [&](bool on, Figures& figures) {
        const bench::CpuMeter meter(broker_pid);
        figures.rate.push_back(measure(on));
        figures.broker_us.push_back(meter.broker_us(count));
        figures.client_us.push_back(meter.own_us(count));
    };
    const auto ratio = [](const std::vector<double>& a, const std::vector<double>& b) {
        return median(b) > 0 ? median(a) / median(b) : 0;
    };
    for (int round = 0; round < rounds; ++round) {
        run(false, plain);
        run(true, featured);
        std::printf("%s: plain %.0f/s, with it %.0f/s\n", what, plain.rate.back(),
                    featured.rate.back());
    }
    std::printf("%s, medians: plain %.0f/s, with it %.0f/s: %.2f x\n", what, median(plain.rate),
                median(featured.rate), ratio(featured.rate, plain.rate));
    std::printf("%s, CPU us a message: broker %.3f, with it %.3f (%.2f x); client %.3f, %.3f\n",
                what, median(plain.broker_us), median(featured.broker_us),
                ratio(plain.broker_us, featured.broker_us), median(plain.client_us),
                median(featured.client_us));
}

}  // namespace

int main(int argc, char** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    const std::uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 200'000;
    const std::uint64_t rounded = std::max<std::uint64_t>(count / 500, 1) * 500;
    const Bench bench(rounded, argc > 3 ? argv[3] : "ferry://127.0.0.1:7420");
    const int pid = argc > 4 ? static_cast<int>(std::strtol(argv[4], nullptr, 10)) : 0;
    if (mode == "tx") {
        compare("tx", rounded, pid, [&](bool on) { return bench.answer(on); });
    } else if (mode == "priorities" || mode == "mixed") {
        const std::uint64_t burst = mode == "mixed" ? 1 : 512;
        compare(mode.c_str(), rounded, pid, [&](bool on) {
            QueuePolicy policy;
            policy.priorities = on;
            return bench.end_to_end(policy, [burst](std::uint64_t i, Properties& p) {
                p.priority = static_cast<std::uint8_t>(i / burst % 10);
            });
        });
    } else if (mode == "ordered") {
        compare("ordered", rounded, pid, [&](bool on) { return bench.keyed(on); });
    } else if (mode == "dedupe") {
        compare("dedupe", rounded, pid, [&](bool on) {
            QueuePolicy policy;
            policy.dedupe_window_ms = on ? 3'600'000 : 0;
            return bench.end_to_end(policy, [](std::uint64_t i, Properties& p) {
                p.id = "order-" + std::to_string(1'000'000'000 + i);
            });
        });
    } else {
        die("tx, priorities, mixed, ordered or dedupe");
    }
    return 0;
}
