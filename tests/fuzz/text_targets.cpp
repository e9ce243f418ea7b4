// What people and other programs write: configuration, rights, users, cron, addresses.

#include <algorithm>
#include <string>
#include <vector>

#include "config_file.hpp"
#include "config_value.hpp"
#include "ferry/engine/rights.hpp"
#include "ferry/schedule/schedule.hpp"
#include "ferry/secure/scram.hpp"
#include "ferry/secure/users.hpp"
#include "ferry/transport/url.hpp"
#include "input.hpp"
#include "settings.hpp"
#include "targets.hpp"

namespace ferry::fuzz {
namespace {

// Slow and plain: which lengths of the name each prefix of the pattern fits.
bool fits(std::string_view pattern, std::string_view name) {
    std::vector<bool> ends(name.size() + 1, false);
    ends[0] = true;
    for (const char p : pattern) {
        std::vector<bool> next(name.size() + 1, false);
        bool before = false;
        for (std::size_t i = 0; i <= name.size(); ++i) {
            before = before || ends[i];
            if (p == '*') next[i] = before;
            if (p != '*' && i > 0) next[i] = ends[i - 1] && (p == '?' || p == name[i - 1]);
        }
        ends.swap(next);
    }
    return ends.back();
}

// Half a second each would leave no time for anything else.
bool asks_for_much_work(std::string_view text) {
    const std::size_t at = text.rfind("i=");
    return at != std::string_view::npos && text.size() - at > 6;
}

}  // namespace

void config(Bytes bytes) {
    config::Configuration read;
    std::string error;
    if (!config::read_config_text(as_text(bytes), "ferryd.toml", read, error)) {
        require(!error.empty() && error.find('\n') == std::string::npos);
        return;
    }
    static_cast<void>(config::check_together(read));
    for (const config::Setting& setting : config::settings()) static_cast<void>(setting.show(read));
}

void rights(Bytes bytes) {
    Input input(bytes);
    engine::Rights rights;
    rights.user = "u";
    rights.write.emplace_back(as_text(input.take(input.below(24))));
    rights.read.emplace_back(as_text(input.take(input.below(24))));
    const std::string_view name = as_text(input.take(64));
    require(permits(rights, engine::Right::write, name) == fits(rights.write[0], name));
    require(permits(rights, engine::Right::read, name) == fits(rights.read[0], name));
    require(!permits(rights, engine::Right::configure, name));
    require(!permits(rights, engine::Right::admin, name));
    require(permits_publish(rights, "", name) == fits(rights.write[0], name));
}

void scram(Bytes bytes) {
    static const secure::ScramVerifier nobody =
        secure::ScramVerifier::of_nobody("alice", as_bytes("a secret that is no password"));
    Input input(bytes);
    const std::string_view first = as_text(input.take(input.u16() % 1200));
    const std::string_view last = as_text(input.rest());
    secure::ScramServer server;
    if (server.begin(first, false, nullptr)) {
        require(server.user().size() <= secure::scram_text_bytes_max);
        static_cast<void>(server.challenge(nobody));
        require(!server.finish(last).has_value());
    }
    if (const auto verifier = secure::ScramVerifier::parse(last)) {
        const auto again = secure::ScramVerifier::parse(verifier->text());
        require(again.has_value() && *again == *verifier);
    }
    if (asks_for_much_work(last)) return;
    secure::ScramClient client("alice", "pencil", nullptr, "rOprNGfwEbeRWgbNEkqO");
    if (client.answer(last)) require(!client.proves_itself(first));
}

void users(Bytes bytes) {
    const auto read = secure::parse_users(as_text(bytes));
    if (!read.ok()) return require(!read.error().empty());
    const auto again = secure::parse_users(secure::users_text(read.value()));
    require(again.ok() && again.value() == read.value());
}

void cron(Bytes bytes) {
    static constexpr const char* zones[] = {"UTC", "Europe/Berlin", "America/New_York",
                                            "Australia/Lord_Howe", "Pacific/Apia"};
    Input input(bytes);
    const std::uint64_t after = 1'600'000'000'000 + input.u16() * 3'600'000ULL;
    const std::uint32_t which = input.below(6);
    // Now and then a zone of their own: it is a name of the database or nothing.
    const std::string own(which == 5 ? as_text(input.take(input.below(70))) : std::string_view());
    const std::string_view zone = which == 5 ? std::string_view(own) : zones[which];
    const std::string_view text = as_text(input.rest());
    const bool sound = schedule::complaint_of(text, zone).empty();
    const auto first = schedule::next_after(text, zone, after);
    if (!sound) return require(!first.has_value());
    if (!first) return;
    const auto second = schedule::next_after(text, zone, *first);
    require(*first > after && (!second || *second > *first));
    // What is next is next from any moment before it.
    const auto same = schedule::next_after(text, zone, *first - 1);
    require(same.has_value() && *same == *first);
}

void addresses(Bytes bytes) {
    const std::string_view text = as_text(bytes);
    if (const auto url = transport::parse_url(text); url.ok()) {
        const auto again = transport::parse_url(url.value().text());
        require(again.ok() && again.value().host == url.value().host &&
                again.value().port == url.value().port && again.value().tls == url.value().tls);
    }
    if (const auto address = config::parse_address(text)) {
        const auto again = config::parse_address(config::address_text(*address));
        require(again.has_value() && *again == *address);
    }
    if (const auto size = config::parse_size(text)) {
        const auto again = config::parse_size(config::size_text(*size));
        require(again.has_value() && *again == *size);
    }
    if (const auto ms = config::parse_duration_ms(text)) {
        const auto again = config::parse_duration_ms(config::duration_text(*ms));
        require(again.has_value() && *again == *ms);
    }
}

}  // namespace ferry::fuzz
