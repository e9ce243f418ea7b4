#include "gate.hpp"

#include <algorithm>

namespace ferry::server {
namespace {

constexpr std::uint64_t delay_ms_min = 250;
constexpr std::uint64_t delay_ms_max = 4'000;
constexpr std::uint64_t forget_after_ns = 60'000'000'000;
constexpr std::size_t addresses_max = 4'096;

std::shared_ptr<const engine::Rights> rights_of(const std::string& name, const secure::User& user) {
    auto rights = std::make_shared<engine::Rights>();
    rights->user = name;
    rights->configure = user.configure;
    rights->write = user.write;
    rights->read = user.read;
    rights->admin = user.admin;
    return rights;
}

}  // namespace

std::string Gate::open() {
    if (config_.encrypted()) {
        if (std::string wrong = load_tls(); !wrong.empty()) return wrong;
        tls_stamp_ = tls_stamp();
    }
    if (!wants_users()) return {};
    users_stamp_ = secure::file_stamp(config_.users_file);
    return load_users();
}

std::string Gate::load_tls() {
    auto made = secure::TlsContext::server(config_.tls);
    if (!made.ok()) return made.error();
    tls_ = std::move(made).value();
    return {};
}

std::string Gate::tls_stamp() const {
    if (!config_.encrypted()) return {};
    return secure::file_stamp(config_.tls.certificate) + "|" + secure::file_stamp(config_.tls.key) +
           "|" + secure::file_stamp(config_.tls.client_ca);
}

std::string Gate::load_users() {
    auto loaded = secure::load_users(config_.users_file);
    if (!loaded.ok()) return loaded.error();
    std::erase_if(gone_, [](const auto& account) { return account->connections == 0; });
    std::map<std::string, std::unique_ptr<Account>, std::less<>> fresh;
    for (auto& [name, user] : loaded.value()) {
        const auto old = accounts_.find(name);
        if (old != accounts_.end() && old->second->user == user) {
            fresh.emplace(name, std::move(old->second));
            continue;
        }
        auto account = std::make_unique<Account>();
        account->rights = rights_of(name, user);
        account->user = std::move(user);
        fresh.emplace(name, std::move(account));
    }
    for (auto& [name, account] : accounts_) {
        if (account != nullptr) gone_.push_back(std::move(account));
    }
    accounts_ = std::move(fresh);
    return {};
}

bool Gate::reload(bool even_if_unchanged, const Say& say) {
    if (config_.encrypted()) {
        std::string stamp = tls_stamp();
        if (even_if_unchanged || stamp != tls_stamp_) {
            tls_stamp_ = std::move(stamp);
            if (const std::string wrong = load_tls(); !wrong.empty()) {
                say(LogLevel::error, wrong + "; the certificate from before stays in use");
            } else {
                say(LogLevel::info, "the certificate was read again");
                if (on_certificate) on_certificate();
            }
        }
    }
    if (!wants_users()) return false;
    std::string stamp = secure::file_stamp(config_.users_file);
    if (!even_if_unchanged && stamp == users_stamp_) return false;
    users_stamp_ = std::move(stamp);
    if (const std::string wrong = load_users(); !wrong.empty()) {
        say(LogLevel::error, wrong + "; the users from before stay");
        return false;
    }
    say(LogLevel::info, "the users were read again: " + std::to_string(accounts_.size()));
    return true;
}

Gate::Account* Gate::account(std::string_view name) {
    const auto at = accounts_.find(name);
    return at == accounts_.end() ? nullptr : at->second.get();
}

secure::ScramVerifier Gate::nobody(std::string_view name) const {
    return secure::ScramVerifier::of_nobody(name, secret_);
}

std::uint64_t Gate::note_failure(const std::string& address, Instant now) {
    if (failures_.size() >= addresses_max) {
        std::erase_if(failures_, [&](const auto& entry) {
            return now.ns - entry.second.last.ns > forget_after_ns;
        });
        if (failures_.size() >= addresses_max) failures_.clear();
    }
    Failures& known = failures_[address];
    if (now.ns - known.last.ns > forget_after_ns) known.count = 0;
    known.last = now;
    const std::uint32_t doublings = std::min(known.count++, 8U);
    return std::min(delay_ms_min << doublings, delay_ms_max);
}

std::int64_t Gate::certificate_ends() const {
    return tls_ ? tls_->expires_at() : 0;
}

}  // namespace ferry::server
