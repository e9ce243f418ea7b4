// The beginning of a connection.

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"
#include "reply_address.hpp"

#ifndef FERRY_VERSION
#define FERRY_VERSION "0"
#endif

namespace ferry::server::native {

using wire::Code;

namespace {
constexpr std::uint64_t heartbeat_ms_min = 1'000;
constexpr std::uint64_t heartbeat_ms_max = 600'000;
}  // namespace

bool NativeSession::hello(Request& request) {
    std::uint64_t version = 0;
    std::string_view name;
    std::vector<std::string_view> capabilities;
    std::uint64_t heartbeat_ms = hub_.config.heartbeat_ms;
    std::string_view mechanism;
    std::string_view initial;
    const Option known[] = {
        {.name = "mechanism", .text = &mechanism},
        {.name = "initial", .text = &initial},
        {.name = "name", .text = &name},
        {.name = "heartbeat_ms",
         .number = &heartbeat_ms,
         .least = heartbeat_ms_min,
         .most = heartbeat_ms_max},
        {.name = "capabilities", .texts = &capabilities},
    };
    std::string complaint;
    if (request.count < 4 || !request.fields.read_uint(version)) return false;
    if (version != wire::protocol_version) {
        fail(request.id, Code::unsupported_version, "this broker speaks version 1");
        return true;
    }
    if (!read_options(request.fields, known, complaint)) return false;
    if (!complaint.empty()) {
        fail(request.id, Code::bad_option, complaint);
        return true;
    }
    client_name_ = name;
    for (const std::string_view capability : capabilities) {
        if (capability == wire::capability_single_active) tells_activations_ = true;
        if (capability == wire::capability_blocked) tells_blocked_ = true;
        if (capability == wire::capability_deliver_some) deliveries_.take_some_at_a_time();
    }
    heartbeat_ns_ = heartbeat_ms * 1'000'000;
    if (hub_.gate.wants_users() || !mechanism.empty()) {
        sign_in(request.id, mechanism, initial);
    } else {
        greet(request.id, {});
    }
    return true;
}

void NativeSession::greet(std::uint64_t request, std::string_view proof) {
    --hub_.figures.greeting;
    phase_ = Phase::serving;
    engine_knows_ = true;
    hub_.engine.open_session(id_, rights_);
    hub_.touch();
    const std::size_t mark = begin_ok(link_.out(), request, proof.empty() ? 10 : 11);
    wire::Encoder out(link_.out());
    out.str("version").uint(wire::protocol_version).str("server").str("ferryd " FERRY_VERSION);
    out.str("log_id").uint(hub_.log.recovered().log_id).str("session").uint(id_);
    out.str("heartbeat_ms").uint(heartbeat_ns_ / 1'000'000);
    out.str("frame_bytes_max").uint(hub_.config.frame_bytes_max);
    out.str("payload_bytes_max").uint(hub_.config.payload_bytes_max());
    out.str("reply_to").str(reply_address(id_)).str("now_ms").uint(hub_.now().wall_ms);
    out.str("capabilities").array(3).str(wire::capability_single_active);
    out.str(wire::capability_deliver_some).str(wire::capability_blocked);
    if (!proof.empty()) out.str("proof").str(proof);
    wire::end_frame(link_.out(), mark);
    link_.sent();
}

}  // namespace ferry::server::native
