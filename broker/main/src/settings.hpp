#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "ferry/server/config.hpp"

namespace ferry::config {

/// What file and flags say together.
struct Configuration {
    server::BrokerConfig broker;
    bool http_tls = false;        // http.tls
    bool http_clients = false;    // http.client_certificates
    bool allow_insecure = false;  // listen.allow_insecure, --allow-insecure
};

/// What a key's value may be, as the file wrote it.
using RawValue = std::variant<bool, std::int64_t, std::string>;

/// One key of ferryd.toml.
struct Setting {
    std::string key;       // table.name
    std::string expected;  // what is allowed: "a size from 1MiB to 1GiB, like \"64MiB\""
    /// False: the value is of the wrong type or out of range, and nothing was changed.
    std::function<bool(Configuration&, const RawValue&)> apply;
    /// The value in force, as the file would write it.
    std::function<std::string(const Configuration&)> show;
};

/// Every key there is, in the order of config/ferryd.toml. Lives for ever.
[[nodiscard]] std::span<const Setting> settings();

/// What no key alone can break. Empty when the configuration is sound, else one sentence.
[[nodiscard]] std::string check_together(const Configuration& configuration);

}  // namespace ferry::config
