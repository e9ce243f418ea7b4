// The beginning of a connection.

#include "ferry/wire/limits.hpp"
#include "fields.hpp"
#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"

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
    std::uint64_t heartbeat_ms = hub_.config.heartbeat_ms;
    const Option known[] = {
        {.name = "name", .text = &name},
        {.name = "heartbeat_ms",
         .number = &heartbeat_ms,
         .least = heartbeat_ms_min,
         .most = heartbeat_ms_max},
        {.name = "capabilities", .ignore_array = true},
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
    greet(request, heartbeat_ms);
    return true;
}

void NativeSession::greet(Request& request, std::uint64_t heartbeat_ms) {
    --hub_.figures.greeting;
    phase_ = Phase::serving;
    engine_knows_ = true;
    heartbeat_ns_ = heartbeat_ms * 1'000'000;
    hub_.engine.open_session(id_);
    hub_.touch();
    const std::size_t mark = begin_ok(link_.out(), request.id, 8);
    wire::Encoder out(link_.out());
    out.str("version").uint(wire::protocol_version).str("server").str("ferryd " FERRY_VERSION);
    out.str("log_id").uint(hub_.log.recovered().log_id).str("session").uint(id_);
    out.str("heartbeat_ms").uint(heartbeat_ms);
    out.str("frame_bytes_max").uint(hub_.config.frame_bytes_max);
    out.str("payload_bytes_max").uint(hub_.config.payload_bytes_max());
    out.str("capabilities").array(0);
    wire::end_frame(link_.out(), mark);
    link_.sent();
}

}  // namespace ferry::server::native
