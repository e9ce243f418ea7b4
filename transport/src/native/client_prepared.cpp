#include "ferry/transport/client.hpp"
#include "native/ask.hpp"
#include "native/decode.hpp"

// Prepare, then submit or drop. Each of them may be repeated, so a request that was under way when
// the connection broke is asked again by itself.
namespace ferry::transport {

using native::ask;
using native::invented_name;
using native::make_request;

namespace {

Answer<PreparedResult> decide(native::Core& core, std::string_view id, std::string_view what,
                              Timeout timeout) {
    auto request = make_request(wire::Verb::prepared_decide, 2, true);
    wire::Encoder(request->fields).str(id).str(what);
    auto answer = ask<PreparedResult>(core, request, timeout, native::decode_prepared_result);
    if (answer.ok()) answer.value().id = id;
    return answer;
}

}  // namespace

Answer<PreparedResult> Client::prepare(const Message& message, const PrepareOptions& options,
                                       Timeout timeout) {
    const std::string id = options.id.empty() ? invented_name("p-") : options.id;
    Message sent = message;
    if (sent.properties.id.empty()) sent.properties.id = id;
    if (std::string wrong = wire::check_message(sent); !wrong.empty())
        return ClientError{Errc::rejected, wire::Code::ok, std::move(wrong)};
    auto request = make_request(wire::Verb::prepare, 3, true);
    wire::Encoder out(request->fields);
    out.str(id).map(1U + (options.producer.empty() ? 0U : 1U) +
                    (options.check_after_ms != 0 ? 1U : 0U) + (options.max_checks != 0 ? 1U : 0U));
    out.str("check_queue").str(options.check_queue);
    if (!options.producer.empty()) out.str("producer").str(options.producer);
    if (options.check_after_ms != 0) out.str("check_after_ms").uint(options.check_after_ms);
    if (options.max_checks != 0) out.str("max_checks").uint(options.max_checks);
    wire::write_message(out, sent);
    auto answer = ask<PreparedResult>(*core_, request, timeout, native::decode_prepared_result);
    if (answer.ok()) answer.value().id = id;
    return answer;
}

Answer<PreparedResult> Client::submit(std::string_view id, Timeout timeout) {
    return decide(*core_, id, "submit", timeout);
}

Answer<PreparedResult> Client::drop(std::string_view id, Timeout timeout) {
    return decide(*core_, id, "drop", timeout);
}

Answer<PreparedResult> Client::resume_prepared(std::string_view id, Timeout timeout) {
    return decide(*core_, id, "resume", timeout);
}

Answer<PreparedPage> Client::list_prepared(std::string_view after, std::uint32_t at_most,
                                           bool parked_only, Timeout timeout) {
    auto request = make_request(wire::Verb::prepared_list, 3, true);
    wire::Encoder(request->fields)
        .str(after)
        .uint(at_most)
        .map(1)
        .str("parked")
        .boolean(parked_only);
    return ask<PreparedPage>(*core_, request, timeout, native::decode_prepared_page);
}

Answer<PreparedInfo> Client::show_prepared(std::string_view id, Timeout timeout) {
    auto request = make_request(wire::Verb::prepared_show, 1, true);
    wire::Encoder(request->fields).str(id);
    return ask<PreparedInfo>(*core_, request, timeout, native::decode_prepared);
}

}  // namespace ferry::transport
