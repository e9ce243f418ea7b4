#include "settings.hpp"

#include <array>
#include <utility>
#include <vector>

#include "config_value.hpp"

namespace ferry::config {
namespace {

struct Range {
    std::uint64_t min;
    std::uint64_t max;
    [[nodiscard]] bool holds(std::uint64_t value) const { return value >= min && value <= max; }
};

/// Where a number of type T lives. A plain function so that each row below is one line.
template <class T>
using Place = T& (*)(Configuration&);

template <class T>
T read(Place<T> place, const Configuration& configuration) {
    Configuration copy = configuration;
    return place(copy);
}

std::string quoted(const std::string& text) {
    return "\"" + text + "\"";
}

template <class T>
Setting size_setting(const char* key, Range range, Place<T> place) {
    return {key,
            "a size from " + quoted(size_text(range.min)) + " to " + quoted(size_text(range.max)),
            [=](Configuration& to, const RawValue& raw) {
                const auto* text = std::get_if<std::string>(&raw);
                const auto* number = std::get_if<std::int64_t>(&raw);
                std::optional<std::uint64_t> bytes;
                if (text != nullptr) bytes = parse_size(*text);
                if (number != nullptr && *number >= 0) bytes = static_cast<std::uint64_t>(*number);
                if (!bytes || !range.holds(*bytes)) return false;
                place(to) = static_cast<T>(*bytes);
                return true;
            },
            [=](const Configuration& from) { return quoted(size_text(read(place, from))); }};
}

template <class T>
Setting duration_setting(const char* key, Range range, Place<T> place) {
    return {key,
            "a duration from " + quoted(duration_text(range.min)) + " to " +
                quoted(duration_text(range.max)),
            [=](Configuration& to, const RawValue& raw) {
                // A bare number is refused: seconds or milliseconds would be a guess.
                const auto* text = std::get_if<std::string>(&raw);
                const auto ms = text != nullptr ? parse_duration_ms(*text) : std::nullopt;
                if (!ms || !range.holds(*ms)) return false;
                place(to) = static_cast<T>(*ms);
                return true;
            },
            [=](const Configuration& from) { return quoted(duration_text(read(place, from))); }};
}

template <class T>
Setting count_setting(const char* key, Range range, Place<T> place) {
    return {key, "a number from " + std::to_string(range.min) + " to " + std::to_string(range.max),
            [=](Configuration& to, const RawValue& raw) {
                const auto* number = std::get_if<std::int64_t>(&raw);
                if (number == nullptr || *number < 0) return false;
                if (!range.holds(static_cast<std::uint64_t>(*number))) return false;
                place(to) = static_cast<T>(*number);
                return true;
            },
            [=](const Configuration& from) { return std::to_string(read(place, from)); }};
}

template <class T, std::size_t N>
Setting choice_setting(const char* key, std::array<std::pair<const char*, T>, N> choices,
                       Place<T> place) {
    std::string expected = "one of";
    for (const auto& choice : choices) expected += " " + quoted(choice.first);
    return {key, expected,
            [=](Configuration& to, const RawValue& raw) {
                const auto* text = std::get_if<std::string>(&raw);
                if (text == nullptr) return false;
                for (const auto& choice : choices) {
                    if (*text != choice.first) continue;
                    place(to) = choice.second;
                    return true;
                }
                return false;
            },
            [=](const Configuration& from) {
                const T value = read(place, from);
                for (const auto& choice : choices) {
                    if (choice.second == value) return quoted(choice.first);
                }
                return std::string("?");
            }};
}

Setting data_dir_setting() {
    return {"data.dir", "a directory's path",
            [](Configuration& to, const RawValue& raw) {
                const auto* text = std::get_if<std::string>(&raw);
                // A NUL would end the path early for the operating system.
                if (text == nullptr || text->empty() || text->find('\0') != text->npos)
                    return false;
                to.broker.data_dir = *text;
                return true;
            },
            [](const Configuration& from) { return quoted(from.broker.data_dir); }};
}

using TextPlace = std::string& (*)(Configuration&);

Setting text_setting(const char* key, const char* expected, TextPlace place) {
    return {key, expected,
            [place](Configuration& to, const RawValue& raw) {
                const auto* text = std::get_if<std::string>(&raw);
                if (text == nullptr || text->find('\0') != text->npos) return false;
                place(to) = *text;
                return true;
            },
            [place](const Configuration& from) {
                Configuration copy = from;
                return quoted(place(copy));
            }};
}

using FlagPlace = bool& (*)(Configuration&);

Setting flag_setting(const char* key, FlagPlace place) {
    return {key, "true or false",
            [place](Configuration& to, const RawValue& raw) {
                const auto* flag = std::get_if<bool>(&raw);
                if (flag != nullptr) place(to) = *flag;
                return flag != nullptr;
            },
            [place](const Configuration& from) {
                Configuration copy = from;
                return std::string(place(copy) ? "true" : "false");
            }};
}

Setting listen_setting() {
    return {"listen.address", "HOST:PORT with a numeric host, like \"127.0.0.1:7420\"",
            [](Configuration& to, const RawValue& raw) {
                const auto* text = std::get_if<std::string>(&raw);
                const auto address = text != nullptr ? parse_address(*text) : std::nullopt;
                if (address) to.broker.listen = *address;
                return address.has_value();
            },
            [](const Configuration& from) { return quoted(address_text(from.broker.listen)); }};
}

Setting http_setting() {
    return {"http.address",
            "HOST:PORT with a numeric host, like \"127.0.0.1:7421\", or \"\" for no HTTP",
            [](Configuration& to, const RawValue& raw) {
                const auto* text = std::get_if<std::string>(&raw);
                if (text == nullptr) return false;
                const auto address = parse_address(*text);
                if (!address && !text->empty()) return false;
                to.broker.http = address;
                return true;
            },
            [](const Configuration& from) {
                return quoted(from.broker.http ? address_text(*from.broker.http) : "");
            }};
}

Setting insecure_setting() {
    return {"listen.allow_insecure", "true or false",
            [](Configuration& to, const RawValue& raw) {
                const auto* flag = std::get_if<bool>(&raw);
                if (flag != nullptr) to.allow_insecure = *flag;
                return flag != nullptr;
            },
            [](const Configuration& from) {
                return std::string(from.allow_insecure ? "true" : "false");
            }};
}

constexpr std::uint64_t kib = 1ULL << 10;
constexpr std::uint64_t mib = 1ULL << 20;
constexpr std::uint64_t gib = 1ULL << 30;
constexpr std::uint64_t second = 1000;
constexpr std::uint64_t hour = 3'600 * second;

constexpr std::array<std::pair<const char*, log::Durability>, 2> durabilities{
    {{"fsync", log::Durability::fsync}, {"interval", log::Durability::interval}}};
constexpr std::array<std::pair<const char*, server::LogLevel>, 6> levels{
    {{"trace", server::LogLevel::trace},
     {"debug", server::LogLevel::debug},
     {"info", server::LogLevel::info},
     {"warn", server::LogLevel::warn},
     {"error", server::LogLevel::error},
     {"off", server::LogLevel::off}}};

constexpr std::array<std::pair<const char*, bool>, 2> demands{
    {{"optional", false}, {"required", true}}};

using C = Configuration;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

std::vector<Setting> make_settings() {
    return {
        data_dir_setting(),
        choice_setting<log::Durability>(
            "data.durability", durabilities,
            [](C& c) -> log::Durability& { return c.broker.log.durability; }),
        duration_setting<u64>("data.interval", {1, 60 * second},
                              [](C& c) -> u64& { return c.broker.log.interval_ms; }),
        size_setting<u64>("data.low_water", {0, 16'384 * gib},
                          [](C& c) -> u64& { return c.broker.log.low_water_bytes; }),
        size_setting<u64>("log.segment_bytes", {mib, 4 * gib},
                          [](C& c) -> u64& { return c.broker.log.segment_bytes; }),
        size_setting<u32>("log.batch_bytes", {256 * kib, 64 * mib},
                          [](C& c) -> u32& { return c.broker.log.batch_bytes_max; }),
        size_setting<u64>("log.cache_bytes", {0, 16 * gib},
                          [](C& c) -> u64& { return c.broker.log.cache_bytes; }),
        size_setting<u64>("log.checkpoint_bytes", {mib, 64 * gib},
                          [](C& c) -> u64& { return c.broker.checkpoint_bytes; }),
        size_setting<u64>("log.scrub_rate", {0, gib},
                          [](C& c) -> u64& { return c.broker.log.scrub_bytes_per_second; }),
        duration_setting<u64>("log.scrub_every", {60 * second, 366 * 24 * hour},
                              [](C& c) -> u64& { return c.broker.log.scrub_every_ms; }),
        choice_setting<server::LogLevel>(
            "log.level", levels, [](C& c) -> server::LogLevel& { return c.broker.log_level; }),
        listen_setting(),
        insecure_setting(),
        http_setting(),
        flag_setting("http.tls", [](C& c) -> bool& { return c.http_tls; }),
        flag_setting("http.client_certificates", [](C& c) -> bool& { return c.http_clients; }),
        text_setting("tls.certificate", "a PEM file, or \"\" for no TLS",
                     [](C& c) -> std::string& { return c.broker.tls.certificate; }),
        text_setting("tls.key", "a PEM file",
                     [](C& c) -> std::string& { return c.broker.tls.key; }),
        text_setting("tls.client_ca", "a PEM file, or \"\" to ask clients for no certificate",
                     [](C& c) -> std::string& { return c.broker.tls.client_ca; }),
        choice_setting<bool>("tls.client_certificates", demands,
                             [](C& c) -> bool& { return c.broker.tls.demand_client; }),
        text_setting("auth.users", "a users file (ferry user add), or \"\" to let everybody in",
                     [](C& c) -> std::string& { return c.broker.users_file; }),
        flag_setting("auth.certificates", [](C& c) -> bool& { return c.broker.certificate_users; }),
        text_setting("audit.file", "a file's path, or \"\"",
                     [](C& c) -> std::string& { return c.broker.audit_file; }),
        count_setting<u32>("limits.connections", {1, 1'000'000},
                           [](C& c) -> u32& { return c.broker.connections_max; }),
        count_setting<u32>("limits.connections_per_second", {1, 1'000'000},
                           [](C& c) -> u32& { return c.broker.connections_per_second; }),
        size_setting<u32>("limits.frame_bytes", {64 * kib, limits::frame_bytes_cap},
                          [](C& c) -> u32& { return c.broker.frame_bytes_max; }),
        size_setting<u64>("limits.output_bytes", {64 * kib, gib},
                          [](C& c) -> u64& { return c.broker.output_bytes_max; }),
        size_setting<u64>("limits.memory", {0, 16'384 * gib},
                          [](C& c) -> u64& { return c.broker.memory_bytes_max; }),
        size_setting<u64>("limits.pending_bytes", {mib, gib},
                          [](C& c) -> u64& { return c.broker.pending_bytes_max; }),
        count_setting<u32>("limits.connection_unconfirmed", {1'024, 16'777'216},
                           [](C& c) -> u32& { return c.broker.connection_unconfirmed_max; }),
        duration_setting<u32>("heartbeat.interval", {second, 600 * second},
                              [](C& c) -> u32& { return c.broker.heartbeat_ms; }),
        duration_setting<u64>("queue.lease", {limits::lease_ms_min, limits::lease_ms_max},
                              [](C& c) -> u64& { return c.broker.lease_ms; }),
        duration_setting<u32>("server.drain", {0, hour},
                              [](C& c) -> u32& { return c.broker.drain_ms; }),
        count_setting<u32>("server.spin_us", {0, Spin::limit_us_max},
                           [](C& c) -> u32& { return c.broker.spin_us; }),
        count_setting<u32>("metrics.queues_max", {0, 10'000},
                           [](C& c) -> u32& { return c.broker.metrics_queues_max; }),
    };
}

std::string insecure_sentence(const char* key, const server::Address& address, const char* remedy) {
    return std::string(key) + " is " + address_text(address) +
           ", which other machines can reach: " + remedy +
           ", or listen on 127.0.0.1, or accept the danger with --allow-insecure or "
           "listen.allow_insecure = true";
}

// Strangers find a locked door, or nobody finds a door at all.
std::string check_exposure(const Configuration& configuration) {
    const server::BrokerConfig& broker = configuration.broker;
    if (configuration.allow_insecure) return {};
    const bool known = !broker.users_file.empty() || broker.tls.demand_client;
    if (!is_loopback(broker.listen) && !(broker.encrypted() && known)) {
        return insecure_sentence("listen.address", broker.listen,
                                 "set tls.certificate and tls.key, and auth.users");
    }
    const bool guarded = configuration.http_tls && configuration.http_clients;
    if (broker.http && !is_loopback(*broker.http) && !guarded) {
        return insecure_sentence("http.address", *broker.http,
                                 "set http.tls and http.client_certificates to true");
    }
    return {};
}

std::string check_security(const Configuration& configuration) {
    const server::BrokerConfig& broker = configuration.broker;
    if (configuration.http_tls && !broker.encrypted()) return "http.tls needs tls.certificate";
    if (configuration.http_clients && (!configuration.http_tls || broker.tls.client_ca.empty()))
        return "http.client_certificates needs http.tls and tls.client_ca";
    if (broker.tls.certificate.empty() != broker.tls.key.empty())
        return "tls.certificate and tls.key go together";
    if (!broker.tls.client_ca.empty() && !broker.encrypted())
        return "tls.client_ca needs tls.certificate";
    if (broker.tls.demand_client && broker.tls.client_ca.empty())
        return "tls.client_certificates = \"required\" needs tls.client_ca";
    if (broker.certificate_users && (broker.tls.client_ca.empty() || broker.users_file.empty()))
        return "auth.certificates = true needs tls.client_ca and auth.users";
    return {};
}

}  // namespace

std::span<const Setting> settings() {
    static const std::vector<Setting> all = make_settings();
    return all;
}

std::string check_together(const Configuration& configuration) {
    const server::BrokerConfig& broker = configuration.broker;
    constexpr std::uint64_t page = 4096;
    if (broker.log.segment_bytes % page != 0) {
        return "log.segment_bytes must be a multiple of \"4KiB\"";
    }
    if (broker.log.batch_bytes_max % page != 0) {
        return "log.batch_bytes must be a multiple of \"4KiB\"";
    }
    if (broker.log.segment_bytes < broker.log.batch_bytes_max) {
        return "log.segment_bytes must not be smaller than log.batch_bytes";
    }
    // A frame becomes one record, with the routing result beside it.
    if (broker.log.batch_bytes_max < 2ULL * broker.frame_bytes_max) {
        return "log.batch_bytes must be at least twice limits.frame_bytes";
    }
    if (broker.http && broker.http->port != 0 && *broker.http == broker.listen) {
        return "listen.address and http.address are the same: " + address_text(broker.listen);
    }
    if (std::string wrong = check_security(configuration); !wrong.empty()) return wrong;
    return check_exposure(configuration);
}

}  // namespace ferry::config
