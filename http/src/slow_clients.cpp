#include "slow_clients.hpp"

#include <sys/socket.h>

#include <algorithm>

namespace ferry::http {

SlowClients::SlowClients(std::chrono::milliseconds limit)
    : limit_(limit), thread_([this] { watch(); }) {}

SlowClients::~SlowClients() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    stopped_.notify_all();
    thread_.join();
}

void SlowClients::begin(int socket) {
    const std::lock_guard lock(mutex_);
    since_[socket] = Clock::now();
}

void SlowClients::progress(int socket) {
    const std::lock_guard lock(mutex_);
    const auto found = since_.find(socket);
    if (found != since_.end()) found->second = Clock::now();
}

void SlowClients::end(int socket) {
    const std::lock_guard lock(mutex_);
    since_.erase(socket);
}

void SlowClients::watch() {
    const auto pause = std::max(limit_ / 4, std::chrono::milliseconds(1));
    std::unique_lock lock(mutex_);
    while (!stopped_.wait_for(lock, pause, [this] { return stop_; })) {
        const Clock::time_point now = Clock::now();
        for (const auto& [socket, since] : since_) {
            // Its owner sees the end and closes it.
            if (now - since > limit_) ::shutdown(socket, SHUT_RDWR);
        }
    }
}

}  // namespace ferry::http
