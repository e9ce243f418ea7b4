#include "bench/bench.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/consumer.hpp"
#include "bench/kafka_bench.hpp"
#include "bench/pinger.hpp"
#include "bench/process.hpp"
#include "bench/publisher.hpp"
#include "bench/signal.hpp"
#include "ferry/transport/kafka/settings.hpp"
#include "progress.hpp"

namespace ferry::cli::bench {
namespace {

using transport::Answer;
using transport::Client;
using transport::ClientError;

/// What is read before and after the measured part.
struct Meter {
    std::uint64_t began_ns = 0;
    double client_cpu = 0;
    std::optional<double> server_cpu;
    std::uint64_t syncs = 0;
    std::optional<std::uint64_t> pid;

    static Answer<Meter> read(Client& admin, const std::string& url) {
        const auto stats = admin.stats();
        if (!stats.ok()) return stats.error();
        Meter meter;
        meter.syncs = stats.value().figure("syncs");
        meter.pid = find_broker_process(url);
        if (meter.pid) meter.server_cpu = process_cpu_seconds(*meter.pid);
        meter.client_cpu = own_cpu_seconds();
        meter.began_ns = now_ns();
        return meter;
    }
    Answer<Done> into(Client& admin, Outcome& out) const {
        out.seconds = static_cast<double>(now_ns() - began_ns) / 1e9;
        out.client_cpu_s = own_cpu_seconds() - client_cpu;
        const auto later = pid ? process_cpu_seconds(*pid) : std::nullopt;
        if (server_cpu && later) out.server_cpu_s = *later - *server_cpu;
        const auto stats = admin.stats();
        if (!stats.ok()) return stats.error();
        out.fsyncs = stats.value().figure("syncs") - syncs;
        return Done{};
    }
};

ClientError worthless(const Signal& signal) {
    return {Errc::unreachable, wire::Code::ok, signal.why()};
}

/// The queues of one measurement; empties and (unless they are to be kept) deletes them.
class Queues {
public:
    Queues(Client& admin, const Settings& settings) : admin_(admin), keep_(settings.keep) {
        options_.ordered = settings.ordered;
        for (std::uint32_t i = 0; i < settings.queues; ++i) {
            names_.push_back(settings.prefix + "-" + std::to_string(i));
        }
    }
    ~Queues() {
        if (keep_) return;
        for (const std::string& name : names_) {
            admin_.delete_queue(name).ignore(
                "the measurement is over; a left-over queue is harmless");
        }
    }
    Queues(const Queues&) = delete;
    Queues& operator=(const Queues&) = delete;

    Answer<Done> prepare() {
        for (const std::string& name : names_) {
            if (const auto made = admin_.declare_queue(name, options_); !made.ok())
                return made.error();
            if (const auto gone = admin_.purge_queue(name); !gone.ok()) return gone.error();
        }
        return Done{};
    }
    [[nodiscard]] std::span<const std::string> names() const { return names_; }

private:
    Client& admin_;
    bool keep_;
    transport::QueueOptions options_;
    std::vector<std::string> names_;
};

/// The consumers of one measurement.
class Consumers {
public:
    Consumers(const Settings& settings, std::span<const std::string> queues, Signal& signal) {
        for (std::uint32_t i = 0; i < settings.consumers; ++i)
            all_.push_back(std::make_unique<Consumer>(settings, queues, signal, received_));
    }
    Answer<Done> connect(const Context& context) {
        return each([&](Consumer& consumer) { return consumer.connect(context); });
    }
    Answer<Done> subscribe() {
        return each([](Consumer& consumer) { return consumer.subscribe(); });
    }
    Answer<Done> settle() {
        return each([](Consumer& consumer) { return consumer.settle(); });
    }
    [[nodiscard]] std::uint64_t received() const {
        return received_.load(std::memory_order_acquire);
    }
    [[nodiscard]] Histogram age() const {
        Histogram age;
        for (const auto& consumer : all_) age.add(consumer->age());
        return age;
    }

private:
    template <class Do>
    Answer<Done> each(Do&& what) {
        for (const auto& consumer : all_) {
            if (auto done = what(*consumer); !done.ok()) return done;
        }
        return Done{};
    }

    std::atomic<std::uint64_t> received_{0};
    std::vector<std::unique_ptr<Consumer>> all_;
};

// Shows how far it is while the I/O threads work; on a terminal only.
bool wait_showing(const Signal& signal, const char* what, std::uint64_t total,
                  const std::function<std::uint64_t()>& done) {
    if (::isatty(STDERR_FILENO) != 1) {
        return signal.wait_until([&] { return done() >= total; });
    }
    Progress progress(what, total);
    while (done() < total && !signal.failed()) {
        ::usleep(50'000);
        progress.at(done());
    }
    return !signal.failed();
}

Answer<Outcome> produce(const Context& context, const Settings& settings, Client& admin,
                        std::span<const std::string> queues) {
    Signal signal;
    Publisher publisher(settings, queues, signal);
    if (const auto ready = publisher.connect(context); !ready.ok()) return ready.error();
    Outcome out;
    const auto before = Meter::read(admin, context.url);
    if (!before.ok()) return before.error();
    publisher.start();
    if (!wait_showing(signal, "published", settings.count, [&] { return publisher.confirmed(); })) {
        return worthless(signal);
    }
    if (const auto after = before.value().into(admin, out); !after.ok()) return after.error();
    out.messages = settings.count;
    out.confirm = publisher.latency();
    return out;
}

Answer<Outcome> consume(const Context& context, const Settings& settings, Client& admin,
                        std::span<const std::string> queues) {
    if (const auto filled = produce(context, settings, admin, queues); !filled.ok()) return filled;
    Signal signal;
    Consumers consumer(settings, queues, signal);
    if (const auto ready = consumer.connect(context); !ready.ok()) return ready.error();
    Outcome out;
    const auto before = Meter::read(admin, context.url);
    if (!before.ok()) return before.error();
    if (const auto begun = consumer.subscribe(); !begun.ok()) return begun.error();
    if (!wait_showing(signal, "consumed", settings.count, [&] { return consumer.received(); })) {
        return worthless(signal);
    }
    if (const auto settled = consumer.settle(); !settled.ok()) return settled.error();
    if (const auto after = before.value().into(admin, out); !after.ok()) return after.error();
    out.messages = settings.count;
    return out;
}

Answer<Outcome> end_to_end(const Context& context, const Settings& settings, Client& admin,
                           std::span<const std::string> queues) {
    Signal signal;
    Publisher publisher(settings, queues, signal);
    Consumers consumer(settings, queues, signal);
    if (const auto ready = publisher.connect(context); !ready.ok()) return ready.error();
    if (const auto ready = consumer.connect(context); !ready.ok()) return ready.error();
    if (const auto begun = consumer.subscribe(); !begun.ok()) return begun.error();
    Outcome out;
    const auto before = Meter::read(admin, context.url);
    if (!before.ok()) return before.error();
    publisher.start();
    const auto both = [&] { return std::min(publisher.confirmed(), consumer.received()); };
    if (!wait_showing(signal, "end to end", settings.count, both)) return worthless(signal);
    if (const auto settled = consumer.settle(); !settled.ok()) return settled.error();
    if (const auto after = before.value().into(admin, out); !after.ok()) return after.error();
    out.messages = settings.count;
    out.confirm = publisher.latency();
    out.deliver = consumer.age();
    return out;
}

Answer<Outcome> ping(const Context& context, const Settings& settings, Client& admin,
                     std::span<const std::string> queues) {
    Signal signal;
    Outcome out;
    const auto before = Meter::read(admin, context.url);
    if (!before.ok()) return before.error();
    {
        Pinger confirms(settings, queues[0], false, signal);
        if (const auto done = confirms.run(context); !done.ok()) return done.error();
        out.confirm = confirms.latency();
    }
    const double confirm_seconds = static_cast<double>(now_ns() - before.value().began_ns) / 1e9;
    if (const auto gone = admin.purge_queue(queues[0]); !gone.ok()) return gone.error();
    {
        Pinger deliveries(settings, queues[0], true, signal);
        if (const auto done = deliveries.run(context); !done.ok()) return done.error();
        out.deliver = deliveries.latency();
    }
    if (const auto after = before.value().into(admin, out); !after.ok()) return after.error();
    // Messages a second are those of the first half; the second has acks in it.
    out.seconds = confirm_seconds;
    out.messages = out.confirm->count();
    return out;
}

}  // namespace

Answer<Outcome> run(const Context& context, const Settings& settings) {
    if (transport::kafka::is_kafka_url(context.url)) return run_on_kafka(context, settings);
    auto admin = connect(context);
    if (!admin.ok()) return admin.error();
    Queues queues(*admin.value(), settings);
    if (const auto ready = queues.prepare(); !ready.ok()) return ready.error();
    if (settings.mode == "produce")
        return produce(context, settings, *admin.value(), queues.names());
    if (settings.mode == "consume")
        return consume(context, settings, *admin.value(), queues.names());
    if (settings.mode == "e2e")
        return end_to_end(context, settings, *admin.value(), queues.names());
    return ping(context, settings, *admin.value(), queues.names());
}

}  // namespace ferry::cli::bench
