// Registered instances of services, and who watches them; docs/services.md.

#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "list_page.hpp"
#include "native_session.hpp"
#include "peek.hpp"

namespace ferry::server::native {

using wire::Code;
using wire::Verb;

namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
// More instances do not go into one frame.
constexpr std::size_t told_at_a_time = 256;
constexpr std::size_t flush_bytes = 256U << 10;  // let them go while more comes

// Nil is a keep-alive: `given` stays false. False: malformed.
bool read_metadata(wire::Cursor& fields, Registry::Metadata& out, bool& given,
                   std::string& complaint) {
    if (fields.read_nil()) return true;
    given = true;
    std::uint32_t count = 0;
    if (!fields.read_map(count)) return false;
    std::size_t bytes = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view name;
        std::string_view value;
        if (!fields.read_str(name) || !fields.read_str(value)) return false;
        bytes += name.size() + value.size();
        if (i >= limits::service_metadata_max || bytes > limits::service_metadata_bytes_max) {
            complaint = "metadata has at most 32 entries with 4096 bytes in all";
            return true;
        }
        out.emplace_back(name, value);
    }
    std::sort(out.begin(), out.end());
    return true;
}

void write_metadata(wire::Encoder& out, const Registry::Metadata& metadata) {
    out.map(static_cast<std::uint32_t>(metadata.size()));
    for (const auto& [name, value] : metadata) out.str(name).str(value);
}

struct Row {
    const ServiceKey* key = nullptr;
    const Registry::Instance* instance = nullptr;
};

void write_row(wire::Encoder& out, const Row& row, Now now) {
    const Registry::Instance& instance = *row.instance;
    out.map(6).str("service").str(row.key->first).str("instance").str(row.key->second);
    out.str("metadata");
    write_metadata(out, instance.metadata);
    out.str("session").uint(instance.session);
    out.str("age_ms").uint((now.mono.ns - instance.since.ns) / ns_per_ms);
    const std::uint64_t left =
        instance.deadline.ns > now.mono.ns ? instance.deadline.ns - now.mono.ns : 0;
    out.str("left_ms").uint(left / ns_per_ms);
}

void write_told(wire::Buffer& out, std::uint64_t watch, std::uint64_t flags, std::uint32_t count,
                const wire::Buffer& items) {
    const std::size_t mark = wire::begin_frame(out, Verb::service_told, 4);
    wire::Encoder(out).uint(watch).uint(flags).array(count).raw(items);
    wire::end_frame(out, mark);
}

// [service, instance, metadata], or nil for the metadata of one that is gone.
void write_item(wire::Encoder& out, const ServiceKey& key, const Registry::Instance* instance) {
    out.array(3).str(key.first).str(key.second);
    if (instance == nullptr) {
        out.nil();
    } else {
        write_metadata(out, instance->metadata);
    }
}

bool sound_instance(std::string_view instance) {
    return !instance.empty() && instance.size() <= limits::short_text_bytes_max;
}

}  // namespace

// service, instance, metadata or nil, ttl_ms (0: it goes)
bool NativeSession::service(Request& request) {
    std::string_view service;
    std::string_view instance;
    std::uint64_t ttl_ms = 0;
    Registry::Instance wanted;
    bool given = false;
    std::string complaint;
    wire::Cursor& fields = request.fields;
    if (request.count < 6 || !fields.read_str(service) || !fields.read_str(instance) ||
        !read_metadata(fields, wanted.metadata, given, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    if (!fields.read_uint(ttl_ms)) return false;
    if (!wire::valid_name(service) || !sound_instance(instance)) {
        return refuse(request, Code::bad_name,
                      "a service has a name as queues have, an instance an id of 1 to 255 bytes");
    }
    const ServiceKey key{std::string(service), std::string(instance)};
    Registry& registry = hub_.registry;
    if (ttl_ms == 0) {
        registry.remove(key);
    } else if (ttl_ms < limits::service_ttl_ms_min || ttl_ms > limits::service_ttl_ms_max) {
        return refuse(request, Code::bad_option, "a ttl_ms is 1000 to 86400000, or 0 to go");
    } else if (!given) {
        if (!registry.keep_alive(key, id_, hub_.now().mono))
            return refuse(request, Code::no_such_instance, {});
    } else {
        wanted.session = id_;
        wanted.ttl_ms = ttl_ms;
        if (registry.put(key, std::move(wanted), hub_.now().mono) == Registry::Put::full)
            return refuse(request, Code::limit_reached, "at most 100000 instances are registered");
    }
    hub_.touch();
    if (request.id == 0) return true;
    write_ok(link_.out(), request.id);
    link_.sent();
    return true;
}

// service ("": all), after [service, instance] as two texts, at most, options {watch, unwatch}
bool NativeSession::service_list(Request& request) {
    std::string_view service;
    std::string_view after_service;
    std::string_view after_instance;
    std::uint64_t at_most = 0;
    bool watch = false;
    std::uint64_t unwatch = 0;
    const Option known[] = {{.name = "watch", .flag = &watch},
                            {.name = "unwatch", .number = &unwatch}};
    std::string complaint;
    wire::Cursor& fields = request.fields;
    if (request.count < 7 || request.id == 0 || !fields.read_str(service) ||
        !fields.read_str(after_service) || !fields.read_str(after_instance) ||
        !fields.read_uint(at_most) || !read_options(fields, known, complaint)) {
        return false;
    }
    if (!complaint.empty()) return refuse(request, Code::bad_option, complaint);
    if (unwatch != 0) {
        const auto at = watches_.find(unwatch);
        if (at != watches_.end()) hub_.registry.unwatch(id_, at->second.service);
        if (at != watches_.end()) watches_.erase(at);
    } else if (watch) {
        if (watches_.size() >= limits::service_watches_per_connection_max)
            return refuse(request, Code::limit_reached, "a connection has at most 64 watches");
        Watch& begun = watches_[request.id];
        begun.service = service.substr(0, limits::name_bytes_max);
        hub_.registry.watch(id_, begun.service);
        write_ok(link_.out(), request.id);
        tell_snapshot(request.id, begun);
        return true;
    } else {
        const auto most =
            static_cast<std::size_t>(std::clamp<std::uint64_t>(at_most, 1, limits::list_page_max));
        std::vector<Row> rows;
        const Registry::Instances& all = hub_.registry.all();
        ServiceKey from{std::string(after_service), std::string(after_instance)};
        if (from.first < service) from = {std::string(service), std::string()};
        for (auto at = all.upper_bound(from); at != all.end() && rows.size() <= most; ++at) {
            if (!service.empty() && at->first.first != service) break;
            rows.push_back({&at->first, &at->second});
        }
        const Now now = hub_.now();
        write_page(link_.out(), request.id, "instances", rows, most, hub_.config.frame_bytes_max,
                   [now](wire::Encoder& out, const Row& row) { write_row(out, row, now); });
        link_.sent();
        return true;
    }
    write_ok(link_.out(), request.id);
    link_.sent();
    return true;
}

// All that is there, in parts. Whoever watches takes what it knew before for void.
void NativeSession::tell_snapshot(std::uint64_t id, Watch& watch) {
    watch.behind = false;
    const Registry::Instances& all = hub_.registry.all();
    auto at = watch.service.empty() ? all.begin() : all.lower_bound({watch.service, {}});
    const auto more = [&] {
        return at != all.end() && (watch.service.empty() || at->first.first == watch.service);
    };
    std::uint64_t flags = wire::service_begins;
    do {
        wire::Buffer items;
        wire::Encoder out(items);
        std::uint32_t count = 0;
        for (; more() && count < told_at_a_time &&
               items.size() + page_reserve_bytes + limits::service_metadata_bytes_max <
                   hub_.config.frame_bytes_max;
             ++at) {
            write_item(out, at->first, &at->second);
            ++count;
        }
        if (!more()) flags |= wire::service_complete;
        write_told(link_.out(), id, flags, count, items);
        flags = 0;
    } while (more());
    link_.sent();
}

void NativeSession::on_service(const ServiceKey& key) {
    if (phase_ != Phase::serving) return;
    for (auto& [id, watch] : watches_) {
        if (watch.behind || (!watch.service.empty() && watch.service != key.first)) continue;
        if (link_.out().size() >= flush_bytes) link_.flush();
        if (link_.choked()) {
            // It reads too slowly for every change: a snapshot tells it all when it has caught up.
            watch.behind = true;
            continue;
        }
        wire::Buffer items;
        wire::Encoder out(items);
        write_item(out, key, hub_.registry.find(key));
        write_told(link_.out(), id, wire::service_complete, 1, items);
        link_.sent();
    }
}

void NativeSession::catch_up() {
    for (auto& [id, watch] : watches_) {
        if (watch.behind && !link_.choked()) tell_snapshot(id, watch);
    }
}

}  // namespace ferry::server::native
