#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ferry/transport/error.hpp"
#include "ferry/transport/port.hpp"

namespace ferry::transport {

namespace native {
class Core;
struct KeptRegistration;
struct KeptWatch;
}  // namespace native

/// What an instance tells of itself, such as its address: at most 32 entries, 4,096 bytes in all.
using Metadata = std::vector<std::pair<std::string, std::string>>;

struct RegisterOptions {
    std::string instance;  // 1 to 255 bytes; empty: a random id
    Metadata metadata;
    /// It goes when the broker heard nothing of it for so long: 1,000 to 86,400,000.
    std::uint64_t ttl_ms = 15'000;
};

/// An instance of a service that is there.
struct ServiceInstance {
    std::string service;
    std::string instance;
    Metadata metadata;          // in order of name
    std::uint64_t session = 0;  // only in lists, as what follows; 0: its connection is gone
    std::uint64_t age_ms = 0;
    std::uint64_t left_ms = 0;  // until it goes if nobody keeps it alive
};

struct ServicePage {
    std::vector<ServiceInstance> instances;
    bool more = false;  // ask again with after = the last one
};

struct ServiceChange {
    enum class Kind : std::uint8_t { added, changed, removed };
    Kind kind = Kind::added;
    ServiceInstance instance;
};
/// On the I/O thread, in order, one call for each change; must return soon.
using ServiceHandler = std::function<void(const ServiceChange&)>;

/// Keeps an instance registered. Made by Client::register_service.
///
/// Threads   Any. Lifetime: may outlive its client; destroying it takes the instance back without
///           waiting.
class Registration {
public:
    [[nodiscard]] const std::string& service() const;
    [[nodiscard]] const std::string& instance() const;
    /// From now on it tells this of itself.
    Answer<Done> update(Metadata metadata, Timeout timeout = Timeout{0});
    /// It goes now.
    Answer<Done> unregister(Timeout timeout = Timeout{0});

    ~Registration();
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;

private:
    friend class Client;
    Registration(std::shared_ptr<native::Core> core,
                 std::shared_ptr<native::KeptRegistration> kept);

    std::shared_ptr<native::Core> core_;
    std::shared_ptr<native::KeptRegistration> kept_;
};

/// Knows who is there. Made by Client::watch_service. Over a lost connection it keeps what it knew;
/// what has changed meanwhile is told afterwards.
///
/// Threads   Any. Destroying it ends the watch; a handler that runs on another thread is waited
///           for.
class ServiceWatch {
public:
    /// In order of service and instance.
    [[nodiscard]] std::vector<ServiceInstance> instances() const;

    ~ServiceWatch();
    ServiceWatch(const ServiceWatch&) = delete;
    ServiceWatch& operator=(const ServiceWatch&) = delete;

private:
    friend class Client;
    ServiceWatch(std::shared_ptr<native::Core> core, std::shared_ptr<native::KeptWatch> kept);

    std::shared_ptr<native::Core> core_;
    std::shared_ptr<native::KeptWatch> kept_;
};

}  // namespace ferry::transport
