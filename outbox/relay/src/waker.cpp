#include "waker.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace ferry::outbox::relay {
namespace {

// Announcements that came together are one announcement; a flood must not keep us here.
constexpr int datagrams_per_turn_max = 256;

}  // namespace

Waker::Waker() : event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

Waker::~Waker() {
    stop_listening(false);
    if (event_ >= 0) ::close(event_);
}

bool Waker::listen(const std::string& database_path) {
    stop_listening(false);
    address_.reset();
    if (auto address = WakeAddress::of(database_path)) address_.emplace(std::move(*address));
    if (!address_.has_value()) return false;
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ < 0) return false;
    ::unlink(address_->path());
    if (::bind(socket_, address_->address(), address_->length()) != 0) {
        ::close(socket_);
        socket_ = -1;
        return false;
    }
    // Who may write the database may announce what he wrote.
    struct stat file {};
    if (::stat(database_path.c_str(), &file) == 0) {
        ::chmod(address_->path(), file.st_mode & 0666U);
    }
    return true;
}

void Waker::stop_listening(bool remove) {
    if (socket_ < 0) return;
    if (remove && address_.has_value()) ::unlink(address_->path());
    ::close(socket_);
    socket_ = -1;
}

void Waker::signal() noexcept {
    const std::uint64_t one = 1;
    // Full: it is signalled already.
    if (::write(event_, &one, sizeof one) < 0) return;
}

bool Waker::wait(std::uint64_t milliseconds) {
    pollfd sources[2] = {{event_, POLLIN, 0}, {socket_, POLLIN, 0}};
    const int timeout = static_cast<int>(std::min<std::uint64_t>(milliseconds, 60'000));
    if (::poll(sources, socket_ >= 0 ? 2 : 1, timeout) <= 0) return false;
    if (sources[0].revents != 0) {
        std::uint64_t count = 0;
        if (::read(event_, &count, sizeof count) < 0) count = 0;
    }
    if (sources[1].revents == 0) return false;
    char byte = 0;
    for (int i = 0; i < datagrams_per_turn_max; ++i) {
        if (::recv(socket_, &byte, 1, MSG_DONTWAIT) < 0) break;
    }
    return true;
}

}  // namespace ferry::outbox::relay
