#include "ferry/engine/rights.hpp"

#include <algorithm>

#include "policy.hpp"

namespace ferry::engine {
namespace {

bool any_matches(const std::vector<std::string>& patterns, std::string_view name) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
        return pattern == "*" || glob_matches(pattern, name);
    });
}

}  // namespace

bool permits(const Rights& rights, Right right, std::string_view name) {
    if (rights.admin) return true;
    switch (right) {
        case Right::none:
            return true;
        case Right::any:
            return any_matches(rights.configure, name) || any_matches(rights.write, name) ||
                   any_matches(rights.read, name);
        case Right::configure:
            return any_matches(rights.configure, name);
        case Right::write:
            return any_matches(rights.write, name);
        case Right::read:
            return any_matches(rights.read, name);
        case Right::admin:
            return false;
    }
    return false;
}

bool permits_publish(const Rights& rights, std::string_view exchange,
                     std::string_view routing_key) {
    return permits(rights, Right::write, exchange.empty() ? routing_key : exchange);
}

std::string_view right_name(Right right) {
    switch (right) {
        case Right::none:
            return "none";
        case Right::any:
            return "configure, write or read";
        case Right::configure:
            return "configure";
        case Right::write:
            return "write";
        case Right::read:
            return "read";
        case Right::admin:
            return "admin";
    }
    return "?";
}

std::string lack_text(const Rights& rights, Right right, std::string_view name) {
    std::string text = "user " + rights.user + " lacks the right ";
    text += right_name(right);
    if (right == Right::admin) return text;
    // Names come from strangers: an error text is no place for all that they may write.
    constexpr std::size_t shown_max = 64;
    text += " on '";
    text += name.substr(0, shown_max);
    return text += name.size() > shown_max ? "...'" : "'";
}

using Name = Demand::Name;
using wire::Verb;

// No default: a verb without a line here is an error of the compiler.
Demand demand_of(Verb verb) {
    switch (verb) {
        // A table: several verbs to a line.
        // clang-format off
        case Verb::hello: case Verb::heartbeat: case Verb::goodbye: case Verb::auth_response:
        case Verb::schedule_next:
        case Verb::hold:  // from here: of what the connection was let to before
        case Verb::ack: case Verb::nack: case Verb::extend: case Verb::credit:
        case Verb::unsubscribe:
        case Verb::reply:  // to an address that came with a request
        case Verb::ok:  // from here: what only the broker says
        case Verb::error: case Verb::confirm: case Verb::refused: case Verb::deliver:
        case Verb::deliver_some: case Verb::settled: case Verb::cancelled: case Verb::activated:
        case Verb::auth_challenge: case Verb::blocked: case Verb::unblocked:
        case Verb::lock_told: case Verb::service_told:
            return {Right::none, Name::none};
        case Verb::publish:  // each message where its route is found
        case Verb::transaction: case Verb::transactions: case Verb::prepare:
        case Verb::prepared_decide: case Verb::prepared_show:
            return {Right::write, Name::inside};
        case Verb::producer:
            return {Right::configure, Name::inside};
        case Verb::lock: case Verb::lock_renew:
        case Verb::unlock:  // and configure to take it from others
        case Verb::service:
            return {Right::write, Name::first};
        case Verb::subscribe: case Verb::pull:
            return {Right::read, Name::second};
        case Verb::queue_purge: case Verb::queue_peek: case Verb::queue_drop: case Verb::why:
        case Verb::consumer_list: case Verb::service_list:
        case Verb::queue_move:  // and write on the target
        case Verb::bind:  // and write on the destination
        case Verb::unbind:
            return {Right::read, Name::first};
        case Verb::queue_show: case Verb::exchange_show: case Verb::lock_show:
        case Verb::queue_declare:  // configure, if it is not passive; write for dead letters
        case Verb::exchange_declare:
            return {Right::any, Name::first};
        case Verb::queue_delete: case Verb::exchange_delete: case Verb::schedule_delete:
        case Verb::schedule_pause: case Verb::schedule_show:
        case Verb::schedule_set:  // and write on the target of its message
            return {Right::configure, Name::first};
        case Verb::queue_list: case Verb::exchange_list: case Verb::lock_list:
        case Verb::prepared_list: case Verb::schedule_list: case Verb::policy_set:
        case Verb::policy_delete: case Verb::policy_list: case Verb::stats: case Verb::backup:
            break;
            // clang-format on
    }
    return {Right::admin, Name::none};  // unknown numbers too
}

}  // namespace ferry::engine
