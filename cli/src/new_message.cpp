#include "new_message.hpp"

#include "context.hpp"
#include "message_json.hpp"
#include "message_source.hpp"

namespace ferry::cli {

void add_message_flags(Command& command, NewMessage& target, const std::string& when) {
    wire::Message& message = target.message;
    command.add_option("--queue", target.queue, "Publish to this queue" + when);
    command.add_option("--exchange", message.exchange, "Publish to this exchange");
    command.add_option("--key", message.routing_key, "Routing key, with --exchange");
    Flag* payload = command.add_option("--payload", message.payload, "The payload");
    command.add_option("--file", target.file, "The payload is this file")->excludes(payload);
    command.add_option("--header", target.headers, "Header name=value; may be repeated")
        ->allow_extra_args(false);
    command.add_option("--content-type", message.properties.content_type, "Content type");
}

std::optional<int> complete(const NewMessage& given, wire::Message& out) {
    out = given.message;
    if (out.exchange.empty()) {
        if (given.queue.empty()) return fail(exit_usage, "name a --queue, or an --exchange");
        out.routing_key = given.queue;
    } else if (!given.queue.empty()) {
        return fail(exit_usage, "name a --queue or an --exchange, not both");
    }
    for (const std::string& text : given.headers) {
        auto header = parse_header(text);
        if (!header) return fail(exit_usage, "--header wants name=value, not '" + text + "'");
        out.properties.headers.push_back(std::move(*header));
    }
    if (given.file.empty()) return std::nullopt;
    Result<MessageSource> source = MessageSource::of_file(given.file);
    if (!source.ok()) return fail(source.error(), given.file);
    const Result<bool> read = source.value().next(out.payload);
    if (!read.ok()) return fail(read.error(), given.file);
    return std::nullopt;
}

}  // namespace ferry::cli
