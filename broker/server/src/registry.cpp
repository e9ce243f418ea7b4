#include "registry.hpp"

#include "ferry/wire/limits.hpp"

namespace ferry::server {
namespace {
constexpr std::uint64_t ns_per_ms = 1'000'000;
}  // namespace

const Registry::Instance* Registry::find(const ServiceKey& key) const {
    const auto at = all_.find(key);
    return at == all_.end() ? nullptr : &at->second;
}

Registry::Put Registry::put(const ServiceKey& key, Instance instance, Instant now) {
    const auto at = all_.find(key);
    if (at == all_.end() && all_.size() >= limits::service_instances_max) return Put::full;
    const bool same = at != all_.end() && at->second.metadata == instance.metadata;
    instance.since = at == all_.end() ? now : at->second.since;
    if (at != all_.end()) forget(at);
    instance.deadline = Instant{now.ns + instance.ttl_ms * ns_per_ms};
    deadlines_.emplace(instance.deadline.ns, key);
    by_session_[instance.session].insert(key);
    all_.emplace(key, std::move(instance));
    if (same) return Put::done;
    ++registered;
    changed(key);
    return Put::done;
}

bool Registry::keep_alive(const ServiceKey& key, engine::SessionId session, Instant now) {
    const auto at = all_.find(key);
    if (at == all_.end()) return false;
    Instance kept = at->second;
    forget(at);
    kept.session = session;
    kept.deadline = Instant{now.ns + kept.ttl_ms * ns_per_ms};
    deadlines_.emplace(kept.deadline.ns, key);
    by_session_[session].insert(key);
    all_.emplace(key, std::move(kept));
    return true;
}

void Registry::forget(Instances::iterator at) {
    deadlines_.erase({at->second.deadline.ns, at->first});
    const auto mine = by_session_.find(at->second.session);
    if (mine != by_session_.end()) {
        mine->second.erase(at->first);
        if (mine->second.empty()) by_session_.erase(mine);
    }
    all_.erase(at);
}

bool Registry::remove(const ServiceKey& key) {
    const auto at = all_.find(key);
    if (at == all_.end()) return false;
    forget(at);
    ++removed;
    changed(key);
    return true;
}

void Registry::session_over(engine::SessionId session, bool clean) {
    const auto mine = by_session_.find(session);
    if (mine == by_session_.end() || session == 0) return;
    const std::set<ServiceKey> keys = mine->second;
    for (const ServiceKey& key : keys) {
        if (clean) {
            remove(key);
            continue;
        }
        all_.find(key)->second.session = 0;
    }
    by_session_.erase(session);
}

bool Registry::expire(Instant now) {
    const std::uint64_t before = expired;
    while (!deadlines_.empty() && deadlines_.begin()->first <= now.ns) {
        const ServiceKey key = deadlines_.begin()->second;
        forget(all_.find(key));
        ++expired;
        changed(key);
    }
    return expired != before;
}

void Registry::watch(engine::SessionId session, std::string_view service) {
    watchers_[std::string(service)].insert(session);
}

void Registry::unwatch(engine::SessionId session, std::string_view service) {
    const auto at = watchers_.find(service);
    if (at == watchers_.end()) return;
    const auto one = at->second.find(session);
    if (one != at->second.end()) at->second.erase(one);
    if (at->second.empty()) watchers_.erase(at);
}

void Registry::changed(const ServiceKey& key) {
    std::set<engine::SessionId> told;
    for (const std::string_view service : {std::string_view(key.first), std::string_view()}) {
        const auto at = watchers_.find(service);
        if (at != watchers_.end()) told.insert(at->second.begin(), at->second.end());
    }
    for (const engine::SessionId session : told) changes_.emplace_back(session, key);
}

std::optional<Registry::Change> Registry::take_change() {
    if (changes_.empty()) return std::nullopt;
    Change out = std::move(changes_.front());
    changes_.pop_front();
    return out;
}

}  // namespace ferry::server
