#include "ferry/transport/kafka/settings.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "ferry/platform/file.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::transport::kafka {
namespace {

// What may stand in the file. Everything that at-least-once depends on (acks, idempotence, commits,
// offsets) is ours.
constexpr std::array passed_on{
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.kerberos.service.name",
    "sasl.kerberos.principal",
    "sasl.kerberos.keytab",
    "sasl.oauthbearer.config",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.endpoint.identification.algorithm",
    "ssl.cipher.suites",
    "client.id",
    "client.rack",
    "message.max.bytes",
    "compression.codec",
    "linger.ms",
    "batch.size",
    "batch.num.messages",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "queued.max.messages.kbytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "fetch.message.max.bytes",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "group.instance.id",
    "auto.offset.reset",
    "isolation.level",
    "socket.timeout.ms",
    "socket.keepalive.enable",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "transaction.timeout.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.propagation.max.ms",
    "partitioner",
    "broker.address.family",
};
constexpr std::array secrets{"sasl.password", "ssl.key.password", "ssl.keystore.password",
                             "sasl.oauthbearer.config"};

ClientError wrong(std::string text) {
    return {Errc::rejected, wire::Code::ok, std::move(text)};
}

std::string_view trimmed(std::string_view text) {
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    return text;
}

/// Empty: it is one.
std::string check_host(std::string_view host) {
    const std::string shown(host);
    std::string_view name = host;
    std::string_view port;
    const std::size_t bracket = host.find(']');
    const std::size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
    if (colon != std::string_view::npos) {
        name = host.substr(0, colon);
        port = host.substr(colon + 1);
        unsigned number = 0;
        const auto read = std::from_chars(port.data(), port.data() + port.size(), number);
        if (read.ec != std::errc() || read.ptr != port.data() + port.size() || number == 0 ||
            number > 65535) {
            return "\"" + shown + "\": the port must be 1 to 65535";
        }
    }
    const bool bad =
        name.empty() || name.find_first_of("/@? \t") != std::string_view::npos || host.size() > 300;
    return bad ? "\"" + shown + "\" is not a host" : std::string();
}

std::string read_line(std::string_view line, Settings& out, bool& secret) {
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) return "it is not of the form name = value";
    const std::string name(trimmed(line.substr(0, equals)));
    const std::string value(trimmed(line.substr(equals + 1)));
    if (name.empty() || value.empty()) return "name or value is missing";
    if (name.starts_with("topic.") &&
        std::find(passed_on.begin(), passed_on.end(), name) == passed_on.end()) {
        if (!wire::valid_name(value) || value.size() > limits::topic_bytes_max) {
            return "\"" + value + "\" is not a topic's name: use 1 to 249 of a-z A-Z 0-9 . _ -";
        }
        out.topics[name.substr(6)] = value;
        return {};
    }
    if (name.starts_with("partitions.")) {
        std::uint32_t number = 0;
        const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
        if (read.ec != std::errc() || read.ptr != value.data() + value.size() || number == 0 ||
            number > limits::partitions_max) {
            return "a number of partitions is 1 to 65535";
        }
        out.partitions[name.substr(11)] = number;
        return {};
    }
    if (name == "transactional.id") {
        out.transactional_id = value;
        return {};
    }
    if (std::find(passed_on.begin(), passed_on.end(), name) == passed_on.end()) {
        return "\"" + name + "\" is not a setting that may be set here; docs/kafka.md lists them";
    }
    secret = secret || std::find(secrets.begin(), secrets.end(), name) != secrets.end();
    out.properties.emplace_back(name, value);
    return {};
}

std::string read_options(const std::string& path, Settings& out) {
    const auto files = make_posix_file_system();
    const auto bytes = read_file(*files, path, limits::options_file_bytes_max);
    if (!bytes.ok()) return path + ": " + std::string(bytes.error().what);
    std::string_view rest = as_text(bytes.value());
    bool secret = false;
    for (int number = 1; !rest.empty(); ++number) {
        const std::size_t end = rest.find('\n');
        const std::string_view line = trimmed(rest.substr(0, end));
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
        if (line.empty() || line.front() == '#') continue;
        const std::string bad = read_line(line, out, secret);
        if (!bad.empty()) return path + ":" + std::to_string(number) + ": " + bad;
    }
    struct stat file {};
    if (secret && ::stat(path.c_str(), &file) == 0 && (file.st_mode & 0077) != 0) {
        return path + " has a secret in it and others may read it: chmod 600 " + path;
    }
    return {};
}

}  // namespace

Answer<Settings> read_url(std::string_view url) {
    const std::string form =
        "; a Kafka URL is kafka://HOST:PORT,HOST:PORT with ?options=FILE if there is one";
    if (!is_kafka_url(url)) return wrong("\"" + std::string(url) + "\" is none" + form);
    std::string_view rest = url.substr(std::string_view("kafka://").size());
    std::string_view query;
    if (const std::size_t mark = rest.find('?'); mark != std::string_view::npos) {
        query = rest.substr(mark + 1);
        rest = rest.substr(0, mark);
    }
    if (!rest.empty() && rest.back() == '/') rest.remove_suffix(1);
    Settings out;
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        const std::string_view host = rest.substr(0, comma);
        rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
        if (const std::string bad = check_host(host); !bad.empty()) return wrong(bad + form);
        if (!out.brokers.empty()) out.brokers += ',';
        out.brokers += host;
    }
    if (out.brokers.empty()) return wrong("no host" + form);
    if (query.empty()) return out;
    constexpr std::string_view options = "options=";
    if (!query.starts_with(options) || query.size() == options.size()) {
        return wrong("\"" + std::string(query) + "\" is not known" + form);
    }
    const std::string bad = read_options(std::string(query.substr(options.size())), out);
    if (!bad.empty()) return wrong(bad);
    return out;
}

}  // namespace ferry::transport::kafka
