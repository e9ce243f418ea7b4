#include "native/service_keeper.hpp"

#include <algorithm>

#include "ferry/platform/clock.hpp"
#include "native/core.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;

std::uint64_t now_ns() {
    return system_clock().now().mono.ns;
}

}  // namespace

void encode_service(wire::Buffer& out, const KeptRegistration& registration,
                    const Metadata* metadata, std::uint64_t ttl_ms) {
    wire::Encoder fields(out);
    fields.str(registration.service).str(registration.instance);
    if (metadata == nullptr) {
        fields.nil();
    } else {
        fields.map(static_cast<std::uint32_t>(metadata->size()));
        for (const auto& [name, value] : *metadata) fields.str(name).str(value);
    }
    fields.uint(ttl_ms);
}

bool read_metadata(wire::Cursor& cursor, Metadata& out) {
    std::uint32_t count = 0;
    if (!cursor.read_map(count)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view name;
        std::string_view value;
        if (!cursor.read_str(name) || !cursor.read_str(value)) return false;
        out.emplace_back(name, value);
    }
    return true;
}

// ---- any thread ----

void ServiceKeeper::add(const KeptRegistrationPtr& registration) {
    {
        const std::lock_guard guard(mutex_);
        registrations_.push_back(registration);
        fresh_ = true;
    }
    core_.wake();
}

void ServiceKeeper::forget(const KeptRegistration& registration) {
    const std::lock_guard guard(mutex_);
    std::erase_if(registrations_, [&](const auto& one) { return one.get() == &registration; });
}

void ServiceKeeper::add(const KeptWatchPtr& watch) {
    {
        const std::lock_guard guard(mutex_);
        watches_.push_back(watch);
        fresh_ = true;
    }
    core_.wake();
}

void ServiceKeeper::forget(const KeptWatch& watch) {
    const std::lock_guard guard(mutex_);
    std::erase_if(watches_, [&](const auto& one) { return one.get() == &watch; });
}

// ---- the I/O thread ----

void ServiceKeeper::pump() {
    std::vector<KeptRegistrationPtr> registrations;
    std::vector<KeptWatchPtr> watches;
    {
        const std::lock_guard guard(mutex_);
        if (!fresh_ && generation_ == core_.generation()) return;
        fresh_ = false;
        generation_ = core_.generation();
        registrations = registrations_;
        watches = watches_;
    }
    for (const KeptRegistrationPtr& one : registrations) {
        if (one->generation == core_.generation()) continue;
        one->generation = core_.generation();
        send(one, true);
    }
    for (const KeptWatchPtr& one : watches) {
        if (one->generation == core_.generation()) continue;
        one->generation = core_.generation();
        send(one);
    }
    if (!registrations.empty()) look();
}

void ServiceKeeper::send(const KeptRegistrationPtr& registration, bool whole) {
    const RequestPtr request = core_.session_request(wire::Verb::service, 4);
    {
        const std::lock_guard guard(registration->mutex);
        encode_service(request->fields, *registration, whole ? &registration->metadata : nullptr,
                       registration->ttl_ms);
    }
    registration->sent_ns = now_ns();
    request->on_done = [this, registration, whole](const Request& answered) {
        const bool unknown =
            answered.failed && answered.error.wire_code == wire::Code::no_such_instance;
        if (!unknown || whole) return;
        bool wanted = false;
        {
            const std::lock_guard guard(mutex_);
            wanted = std::find(registrations_.begin(), registrations_.end(), registration) !=
                     registrations_.end();
        }
        if (wanted) send(registration, true);
    };
    core_.send(request);
}

void ServiceKeeper::look() {
    std::vector<KeptRegistrationPtr> registrations;
    {
        const std::lock_guard guard(mutex_);
        registrations = registrations_;
    }
    if (registrations.empty()) return;
    const std::uint64_t now = now_ns();
    std::uint64_t next = now + 60'000 * ns_per_ms;
    for (const KeptRegistrationPtr& one : registrations) {
        const std::uint64_t due = one->sent_ns + one->ttl_ms * ns_per_ms / 3;
        if (core_.serving() && one->generation == core_.generation() && now >= due)
            send(one, false);
        next = std::min(next, one->sent_ns + one->ttl_ms * ns_per_ms / 3);
    }
    core_.arm_service_timer(next > now ? (next - now) / ns_per_ms + 1 : 100);
}

void ServiceKeeper::send(const KeptWatchPtr& watch) {
    const RequestPtr request = core_.session_request(wire::Verb::service_list, 5);
    wire::Encoder(request->fields)
        .str(watch->service)
        .str("")
        .str("")
        .uint(1)
        .map(1)
        .str("watch")
        .boolean(true);
    watch->in_snapshot = false;
    request->on_done = [watch](const Request& answered) {
        if (!answered.failed) return;
        const std::lock_guard guard(watch->mutex);
        watch->failed = true;
        watch->error = answered.error;
        watch->changed.notify_all();
    };
    core_.send(request);
    watch->request = request->id;
}

bool ServiceKeeper::on_told(std::uint64_t request, wire::Cursor& cursor) {
    std::uint64_t flags = 0;
    std::uint32_t count = 0;
    if (!cursor.read_uint(flags) || !cursor.read_array(count)) return false;
    KeptWatch::Known changes;
    std::vector<std::pair<std::string, std::string>> gone;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::uint32_t three = 0;
        std::string_view service;
        std::string_view instance;
        if (!cursor.read_array(three) || three != 3 || !cursor.read_str(service) ||
            !cursor.read_str(instance)) {
            return false;
        }
        std::pair<std::string, std::string> key(service, instance);
        if (cursor.read_nil()) {
            gone.push_back(std::move(key));
            continue;
        }
        Metadata metadata;
        if (!read_metadata(cursor, metadata)) return false;
        changes[std::move(key)] = std::move(metadata);
    }
    KeptWatchPtr found;
    {
        const std::lock_guard guard(mutex_);
        for (const KeptWatchPtr& watch : watches_) {
            if (watch->request == request && watch->generation == core_.generation()) found = watch;
        }
    }
    if (found != nullptr) take(*found, flags, std::move(changes), std::move(gone));
    return true;
}

// A snapshot is compared with what was known, so that the application hears of what has changed and
// of nothing else, however the broker tells it.
void ServiceKeeper::take(KeptWatch& watch, std::uint64_t flags, KeptWatch::Known changes,
                         std::vector<std::pair<std::string, std::string>> gone) {
    if ((flags & wire::service_begins) != 0) {
        watch.in_snapshot = true;
        watch.snapshot.clear();
    }
    if (watch.in_snapshot) {
        watch.snapshot.merge(changes);
        if ((flags & wire::service_complete) == 0) return;
        watch.in_snapshot = false;
        changes = std::move(watch.snapshot);
        watch.snapshot.clear();
        const std::lock_guard guard(watch.mutex);
        for (const auto& [key, metadata] : watch.known) {
            if (changes.count(key) == 0) gone.push_back(key);
        }
    }
    std::vector<ServiceChange> told;
    {
        const std::lock_guard guard(watch.mutex);
        for (const auto& key : gone) {
            const auto at = watch.known.find(key);
            if (at == watch.known.end()) continue;
            told.push_back({ServiceChange::Kind::removed, {key.first, key.second, at->second}});
            watch.known.erase(at);
        }
        for (auto& [key, metadata] : changes) {
            const auto at = watch.known.find(key);
            if (at != watch.known.end() && at->second == metadata) continue;
            const auto kind =
                at == watch.known.end() ? ServiceChange::Kind::added : ServiceChange::Kind::changed;
            told.push_back({kind, {key.first, key.second, metadata}});
            watch.known[key] = std::move(metadata);
        }
    }
    if (watch.handler) {
        const std::lock_guard calling(watch.call_mutex);
        for (const ServiceChange& change : told) {
            if (!watch.silenced) watch.handler(change);
        }
    }
    const std::lock_guard guard(watch.mutex);
    watch.complete = true;
    watch.changed.notify_all();
}

}  // namespace ferry::transport::native
