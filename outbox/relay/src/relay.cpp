#include "ferry/outbox/relay.hpp"

#include <signal.h>

#include <algorithm>
#include <thread>

#include "ferry/transport/kafka/settings.hpp"
#include "ferry/transport/url.hpp"
#include "worker.hpp"

namespace ferry::outbox::relay {

struct Relay::Impl {
    Waker waker;
    Meter meter;
    std::unique_ptr<Worker> worker;
    std::thread thread;

    ~Impl() {
        if (!thread.joinable()) return;
        worker->stop_at_once();
        thread.join();
    }
};

Relay::Relay(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Relay::~Relay() = default;

sqlite::Answer<std::unique_ptr<Relay>> Relay::start(Options options) {
    if (!options.publisher && transport::kafka::is_kafka_url(options.url)) {
        const auto settings = transport::kafka::read_url(options.url);
        if (!settings.ok()) {
            return sqlite::Problem{sqlite::Kind::refused, 0,
                                   options.url + ": " + settings.error().text};
        }
    } else if (!options.publisher) {
        const auto url = transport::parse_url(options.url);
        if (!url.ok()) {
            // What is before an @ may be a password.
            const bool whole = options.url.find('@') == std::string::npos;
            const std::string shown = whole ? options.url : "URL";
            return sqlite::Problem{sqlite::Kind::refused, 0,
                                   shown + ": " + std::string(url.error().what)};
        }
    }
    Rules& rules = options.rules;
    rules.window_min = std::max(rules.window_min, 1U);
    rules.window_max = std::max(rules.window_max, rules.window_min);
    options.mark_rows_max = std::max(options.mark_rows_max, 1U);
    options.active_rows_per_s = std::max<std::uint64_t>(options.active_rows_per_s, 1);
    options.lease_ms = std::max<std::uint64_t>(options.lease_ms, 100);
    options.fallback_ms = std::max<std::uint64_t>(options.fallback_ms, 10);
    auto opened = Store::open(options.database);
    if (!opened.ok()) return opened.error();
    auto impl = std::make_unique<Impl>();
    impl->worker = std::make_unique<Worker>(std::move(options), std::move(opened).value(),
                                            impl->waker, impl->meter);
    // The application's signals are not for this thread.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    impl->thread = std::thread([worker = impl->worker.get()] { worker->run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return std::unique_ptr<Relay>(new Relay(std::move(impl)));
}

void Relay::wake() noexcept {
    impl_->worker->announce();
}

bool Relay::stop(std::chrono::milliseconds patience) {
    if (!impl_->thread.joinable()) return impl_->worker->left_cleanly();
    const auto ms = static_cast<std::uint64_t>(std::max<std::int64_t>(patience.count(), 0));
    impl_->worker->stop_gracefully(ms);
    impl_->thread.join();
    return impl_->worker->left_cleanly();
}

bool Relay::wait_ended(std::chrono::milliseconds patience) {
    return impl_->worker->wait_ended(patience);
}
std::string Relay::failure() const {
    return impl_->worker->failure();
}
Figures Relay::figures() const {
    return impl_->meter.figures();
}
std::string Relay::metrics() const {
    return impl_->meter.render();
}

}  // namespace ferry::outbox::relay
