#include <chrono>

#include "ferry/transport/client.hpp"
#include "native/ask.hpp"
#include "native/read_map.hpp"

// Services: registering, watching, listing. What goes on afterwards is in service_keeper.cpp.
namespace ferry::transport {

using native::ask;
using native::KeptRegistration;
using native::KeptWatch;
using native::make_request;

namespace {

native::RequestPtr service_request(const KeptRegistration& kept, const Metadata* metadata,
                                   std::uint64_t ttl_ms) {
    auto request = make_request(wire::Verb::service, 4, true);
    native::encode_service(request->fields, kept, metadata, ttl_ms);
    return request;
}

bool read_instance(wire::Cursor& cursor, ServiceInstance& out) {
    return native::each_entry(cursor, [&](std::string_view key, wire::Cursor& c) {
        if (key == "service") return native::read_text(c, out.service);
        if (key == "instance") return native::read_text(c, out.instance);
        if (key == "metadata") return native::read_metadata(c, out.metadata);
        if (key == "session") return c.read_uint(out.session);
        if (key == "age_ms") return c.read_uint(out.age_ms);
        if (key == "left_ms") return c.read_uint(out.left_ms);
        return false;
    });
}

bool decode_page(Bytes result, ServicePage& out) {
    wire::Cursor cursor(result);
    return native::each_entry(cursor, [&](std::string_view key, wire::Cursor& c) {
        if (key == "more") return c.read_bool(out.more);
        if (key != "instances") return false;
        return native::each_element(c, [&](wire::Cursor& inner) {
            ServiceInstance instance;
            if (!read_instance(inner, instance)) return false;
            out.instances.push_back(std::move(instance));
            return true;
        });
    });
}

}  // namespace

Answer<std::unique_ptr<Registration>> Client::register_service(std::string_view service,
                                                               const RegisterOptions& options,
                                                               Timeout timeout) {
    auto kept = std::make_shared<KeptRegistration>();
    kept->service = service;
    kept->instance = options.instance.empty() ? native::invented_name("i-") : options.instance;
    kept->metadata = options.metadata;
    kept->ttl_ms = options.ttl_ms;
    const auto answer = core_->call(service_request(*kept, &kept->metadata, kept->ttl_ms), timeout);
    if (!answer.ok()) return answer.error();
    core_->services().add(kept);
    return std::unique_ptr<Registration>(new Registration(core_, std::move(kept)));
}

Answer<std::unique_ptr<ServiceWatch>> Client::watch_service(std::string_view service,
                                                            ServiceHandler handler,
                                                            Timeout timeout) {
    if (core_->on_io_thread()) {
        return ClientError{Errc::rejected, wire::Code::ok,
                           "this call waits, which a callback of the client must not"};
    }
    auto kept = std::make_shared<KeptWatch>();
    kept->service = service;
    kept->handler = std::move(handler);
    core_->services().add(kept);
    auto watch = std::unique_ptr<ServiceWatch>(new ServiceWatch(core_, kept));
    std::unique_lock guard(kept->mutex);
    const bool known = kept->changed.wait_for(guard, core_->timeout_or_default(timeout),
                                              [&] { return kept->complete || kept->failed; });
    if (known && kept->complete) {
        guard.unlock();
        return watch;
    }
    const ClientError error =
        known ? kept->error
              : ClientError{Errc::unreachable, wire::Code::ok, "the broker did not answer in time"};
    guard.unlock();
    return error;
}

Answer<ServicePage> Client::list_services(std::string_view service, const ServiceInstance& after,
                                          std::uint32_t at_most, Timeout timeout) {
    auto request = make_request(wire::Verb::service_list, 5, true);
    wire::Encoder(request->fields)
        .str(service)
        .str(after.service)
        .str(after.instance)
        .uint(at_most)
        .map(0);
    return ask<ServicePage>(*core_, request, timeout, decode_page);
}

// ---- Registration ----

Registration::Registration(std::shared_ptr<native::Core> core,
                           std::shared_ptr<native::KeptRegistration> kept)
    : core_(std::move(core)), kept_(std::move(kept)) {}

Registration::~Registration() {
    core_->services().forget(*kept_);
    core_->post(service_request(*kept_, nullptr, 0));
}

const std::string& Registration::service() const {
    return kept_->service;
}
const std::string& Registration::instance() const {
    return kept_->instance;
}

Answer<Done> Registration::update(Metadata metadata, Timeout timeout) {
    native::RequestPtr request;
    {
        const std::lock_guard guard(kept_->mutex);
        kept_->metadata = std::move(metadata);
        request = service_request(*kept_, &kept_->metadata, kept_->ttl_ms);
    }
    const auto answer = core_->call(std::move(request), timeout);
    if (!answer.ok()) return answer.error();
    return Done{};
}

Answer<Done> Registration::unregister(Timeout timeout) {
    core_->services().forget(*kept_);
    const auto answer = core_->call(service_request(*kept_, nullptr, 0), timeout);
    if (!answer.ok()) return answer.error();
    return Done{};
}

// ---- ServiceWatch ----

ServiceWatch::ServiceWatch(std::shared_ptr<native::Core> core,
                           std::shared_ptr<native::KeptWatch> kept)
    : core_(std::move(core)), kept_(std::move(kept)) {}

ServiceWatch::~ServiceWatch() {
    core_->services().forget(*kept_);
    if (!core_->on_io_thread()) {
        const std::lock_guard calling(kept_->call_mutex);
        kept_->silenced = true;
    } else {
        kept_->silenced = true;  // no handler can begin while this thread is here
    }
    if (kept_->request == 0) return;
    auto request = make_request(wire::Verb::service_list, 5, false);
    wire::Encoder(request->fields).str("").str("").str("").uint(1).map(1);
    wire::Encoder(request->fields).str("unwatch").uint(kept_->request);
    request->session = true;
    core_->post(std::move(request));
}

std::vector<ServiceInstance> ServiceWatch::instances() const {
    std::vector<ServiceInstance> out;
    const std::lock_guard guard(kept_->mutex);
    for (const auto& [key, metadata] : kept_->known)
        out.push_back({key.first, key.second, metadata});
    return out;
}

}  // namespace ferry::transport
