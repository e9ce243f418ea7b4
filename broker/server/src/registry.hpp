#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ferry/engine/types.hpp"
#include "ferry/platform/clock.hpp"

namespace ferry::server {

/// An instance of a service, by name and id.
using ServiceKey = std::pair<std::string, std::string>;

/// Instances of services that are there now, and who wants to know of them.
///
/// Not durable: after a restart of the broker it is empty, and clients register again. An instance
/// goes when its lease ends (nobody kept it alive for its time to live, on the monotonic clock),
/// when it says so, or with a connection that ends in good order.
///
/// Threads   The loop's. Memory: bounded by limits.hpp.
class Registry {
public:
    using Metadata = std::vector<std::pair<std::string, std::string>>;
    struct Instance {
        Metadata metadata;
        engine::SessionId session = 0;  // 0: its connection is gone, its time is not over
        std::uint64_t ttl_ms = 0;
        Instant since;
        Instant deadline;
    };
    using Instances = std::map<ServiceKey, Instance>;
    enum class Put : std::uint8_t { done, full };

    [[nodiscard]] const Instances& all() const { return all_; }
    [[nodiscard]] const Instance* find(const ServiceKey& key) const;
    /// Registers, or replaces what this instance was registered with.
    Put put(const ServiceKey& key, Instance instance, Instant now);
    /// Its lease counts anew, and it is this session's. False: there is no such instance.
    bool keep_alive(const ServiceKey& key, engine::SessionId session, Instant now);
    bool remove(const ServiceKey& key);
    /// Removes what this session registered (a clean end), or leaves it to its time.
    void session_over(engine::SessionId session, bool clean);
    /// Removes those whose time is over. False: there were none.
    bool expire(Instant now);

    void watch(engine::SessionId session, std::string_view service);
    void unwatch(engine::SessionId session, std::string_view service);
    /// The next thing that has changed, for a session that watches it. In order.
    using Change = std::pair<engine::SessionId, ServiceKey>;
    [[nodiscard]] std::optional<Change> take_change();

    // Since start.
    std::uint64_t registered = 0, removed = 0, expired = 0;

private:
    void changed(const ServiceKey& key);
    void forget(Instances::iterator at);

    Instances all_;
    std::set<std::pair<std::uint64_t, ServiceKey>> deadlines_;
    std::map<engine::SessionId, std::set<ServiceKey>> by_session_;
    std::map<std::string, std::multiset<engine::SessionId>, std::less<>> watchers_;
    std::deque<Change> changes_;
};

}  // namespace ferry::server
