#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/engine/rights.hpp"
#include "ferry/platform/clock.hpp"
#include "ferry/secure/tls.hpp"
#include "ferry/secure/users.hpp"
#include "ferry/server/config.hpp"

namespace ferry::server {

/// Who may come in, and over what: certificates and users, both read again while the broker runs.
///
/// Threads   The loop's. Blocking: reload() reads small files.
class Gate {
public:
    /// What a user may do and have, as the file says now. Unchanged users keep their address.
    struct Account {
        secure::User user;
        std::shared_ptr<const engine::Rights> rights;
        std::uint64_t connections = 0;  // now
        // Messages it may publish at `refilled`; below zero: ahead of its rate.
        double tokens = 0;
        Instant refilled;
    };
    using Say = std::function<void(LogLevel, const std::string&)>;

    explicit Gate(const BrokerConfig& config) : config_(config) {}
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;

    /// Reads all files the first time. Empty, or why the broker must not start.
    [[nodiscard]] std::string open();
    /// Reads what changed since. What is bad is told to `say`, and what was there before stays.
    /// True: users changed.
    bool reload(bool even_if_unchanged, const Say& say);

    [[nodiscard]] const std::shared_ptr<secure::TlsContext>& tls() const { return tls_; }
    [[nodiscard]] bool wants_users() const { return !config_.users_file.empty(); }
    [[nodiscard]] bool takes_certificates() const { return config_.certificate_users; }
    /// Null: there is no such user.
    [[nodiscard]] Account* account(std::string_view name);
    /// For whoever there is not: as costly and as constant as one that there is.
    [[nodiscard]] secure::ScramVerifier nobody(std::string_view name) const;

    /// How long the next refusal to this address is held back, after so many failures lately.
    [[nodiscard]] std::uint64_t note_failure(const std::string& address, Instant now);

    std::function<void()> on_certificate;  // a new one was taken

    [[nodiscard]] std::uint64_t users() const { return accounts_.size(); }
    [[nodiscard]] std::int64_t certificate_ends() const;

private:
    [[nodiscard]] std::string load_users();
    [[nodiscard]] std::string load_tls();
    [[nodiscard]] std::string tls_stamp() const;

    struct Failures {
        std::uint32_t count = 0;
        Instant last;
    };

    const BrokerConfig& config_;
    std::shared_ptr<secure::TlsContext> tls_;
    std::map<std::string, std::unique_ptr<Account>, std::less<>> accounts_;
    std::vector<std::unique_ptr<Account>> gone_;  // connections may still count in them
    std::map<std::string, Failures> failures_;
    std::vector<std::byte> secret_ = secure::random_bytes(32);
    std::string users_stamp_;
    std::string tls_stamp_;
};

}  // namespace ferry::server
