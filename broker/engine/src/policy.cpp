#include "policy.hpp"

#include <algorithm>

#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::engine {
namespace {

// What a policy consists of in the log; the numbers never change their meaning.
enum class Setting : std::uint8_t {
    retry = 1,
    retry_delay_ms = 2,
    retry_delay_max_ms = 3,
    retry_jitter_percent = 4,
    max_deliveries = 5,
    dead_letter_exchange = 6,
    dead_letter_key = 7,
    message_ttl_ms = 8,
    expires_ms = 9,
    max_messages = 10,
    max_bytes = 11,
    overflow = 12,
    priorities = 13,
    dedupe_window_ms = 14,
    dedupe_max_ids = 15,
};

std::uint64_t mixed(std::uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

std::uint64_t number_of(const QueuePolicy& p, Setting setting) {
    switch (setting) {
        case Setting::retry:
            return static_cast<std::uint64_t>(p.retry);
        case Setting::retry_delay_ms:
            return p.retry_delay_ms;
        case Setting::retry_delay_max_ms:
            return p.retry_delay_max_ms;
        case Setting::retry_jitter_percent:
            return p.retry_jitter_percent;
        case Setting::max_deliveries:
            return p.max_deliveries;
        case Setting::message_ttl_ms:
            return p.message_ttl_ms;
        case Setting::expires_ms:
            return p.expires_ms;
        case Setting::max_messages:
            return p.max_messages;
        case Setting::max_bytes:
            return p.max_bytes;
        case Setting::overflow:
            return static_cast<std::uint64_t>(p.overflow);
        case Setting::priorities:
            return p.priorities ? 1 : 0;
        case Setting::dedupe_window_ms:
            return p.dedupe_window_ms;
        case Setting::dedupe_max_ids:
            return p.dedupe_max_ids;
        default:
            return 0;
    }
}

struct Number {
    Setting setting;
    const char* name;  // in declarations
};
constexpr Number numbers[] = {
    {Setting::retry, "retry"},
    {Setting::retry_delay_ms, "retry_delay_ms"},
    {Setting::retry_delay_max_ms, "retry_delay_max_ms"},
    {Setting::retry_jitter_percent, "retry_jitter_percent"},
    {Setting::max_deliveries, "max_deliveries"},
    {Setting::message_ttl_ms, "message_ttl_ms"},
    {Setting::expires_ms, "expires_ms"},
    {Setting::max_messages, "max_length"},
    {Setting::max_bytes, "max_bytes"},
    {Setting::overflow, "overflow"},
    {Setting::priorities, "priorities"},
    {Setting::dedupe_window_ms, "dedupe_window_ms"},
    {Setting::dedupe_max_ids, "dedupe_max_ids"},
};

void set_number(QueuePolicy& p, Setting setting, Reader& in) {
    const auto narrow = [&in] { return in.bounded<std::uint32_t>(UINT32_MAX); };
    switch (setting) {
        case Setting::retry:
            p.retry = static_cast<RetryKind>(in.bounded<std::uint8_t>(3));
            break;
        case Setting::retry_delay_ms:
            p.retry_delay_ms = in.varint();
            break;
        case Setting::retry_delay_max_ms:
            p.retry_delay_max_ms = in.varint();
            break;
        case Setting::retry_jitter_percent:
            p.retry_jitter_percent = narrow();
            break;
        case Setting::max_deliveries:
            p.max_deliveries = narrow();
            break;
        case Setting::message_ttl_ms:
            p.message_ttl_ms = in.varint();
            break;
        case Setting::expires_ms:
            p.expires_ms = in.varint();
            break;
        case Setting::max_messages:
            p.max_messages = in.varint();
            break;
        case Setting::max_bytes:
            p.max_bytes = in.varint();
            break;
        case Setting::overflow:
            p.overflow = static_cast<Overflow>(in.bounded<std::uint8_t>(2));
            break;
        case Setting::priorities:
            p.priorities = in.bounded<std::uint8_t>(1) != 0;
            break;
        case Setting::dedupe_window_ms:
            p.dedupe_window_ms = in.varint();
            break;
        case Setting::dedupe_max_ids:
            p.dedupe_max_ids = in.varint();
            break;
        default:
            in.reject();
    }
}

std::string range_text(const char* name, std::uint64_t least, std::uint64_t most) {
    return std::string(name) + " is " + std::to_string(least) + " to " + std::to_string(most);
}

}  // namespace

std::string complaint_of(const QueuePolicy& p) {
    const auto over = [](std::uint64_t value, std::uint64_t most) { return value > most; };
    if (over(p.retry_delay_ms, limits::retry_delay_ms_max))
        return range_text("retry_delay_ms", 0, limits::retry_delay_ms_max);
    if (over(p.retry_delay_max_ms, limits::retry_delay_ms_max))
        return range_text("retry_delay_max_ms", 0, limits::retry_delay_ms_max);
    if (over(p.retry_jitter_percent, 100)) return range_text("retry_jitter_percent", 0, 100);
    if (over(p.max_deliveries, limits::max_deliveries_max))
        return range_text("max_deliveries", 0, limits::max_deliveries_max);
    if (over(p.message_ttl_ms, limits::ttl_ms_max))
        return range_text("message_ttl_ms", 0, limits::ttl_ms_max);
    if (over(p.expires_ms, limits::ttl_ms_max))
        return range_text("expires_ms", 0, limits::ttl_ms_max);
    if (p.retry != RetryKind::none && p.retry_delay_ms == 0)
        return "a retry policy needs retry_delay_ms, 1 to " +
               std::to_string(limits::retry_delay_ms_max);
    if (p.retry == RetryKind::none && (p.retry_delay_ms != 0 || p.retry_jitter_percent != 0))
        return "retry_delay_ms and retry_jitter_percent need retry: fixed, linear or exponential";
    if (!p.dead_letter_exchange.empty() && !wire::valid_name(p.dead_letter_exchange))
        return "dead_letter_exchange is an exchange's name, 1 to 255 of a-z A-Z 0-9 . _ -";
    if (p.dead_letter_key.size() > limits::routing_key_bytes_max)
        return "dead_letter_key has at most 255 bytes";
    if (over(p.max_messages, limits::queue_length_max))
        return range_text("max_length", 0, limits::queue_length_max);
    if (over(p.max_bytes, limits::queue_bytes_max))
        return range_text("max_bytes", 0, limits::queue_bytes_max);
    if (over(p.dedupe_window_ms, limits::dedupe_window_ms_max))
        return range_text("dedupe_window_ms", 0, limits::dedupe_window_ms_max);
    if (over(p.dedupe_max_ids, limits::dedupe_ids_max))
        return range_text("dedupe_max_ids", 0, limits::dedupe_ids_max);
    if (p.dedupe_max_ids != 0 && p.dedupe_window_ms == 0)
        return "dedupe_max_ids needs dedupe_window_ms, 1 to " +
               std::to_string(limits::dedupe_window_ms_max);
    if (p.overflow != Overflow::drop_head && !p.limited())
        return "overflow needs max_length or max_bytes";
    if (p.overflow == Overflow::dead_letter_head && !p.dead_letters())
        return "overflow dead_letter_head needs dead_letter_exchange or dead_letter_key";
    return {};
}

std::vector<std::string> differences(const QueuePolicy& a, const QueuePolicy& b) {
    std::vector<std::string> names;
    for (const auto& [setting, name] : numbers) {
        if (number_of(a, setting) != number_of(b, setting)) names.emplace_back(name);
    }
    if (a.dead_letter_exchange != b.dead_letter_exchange)
        names.emplace_back("dead_letter_exchange");
    if (a.dead_letter_key != b.dead_letter_key) names.emplace_back("dead_letter_key");
    return names;
}

std::uint64_t retry_delay_ms(const QueuePolicy& policy, std::uint32_t attempts, Position position) {
    if (policy.retry == RetryKind::none) return 0;
    const std::uint64_t cap =
        policy.retry_delay_max_ms != 0 ? policy.retry_delay_max_ms : limits::retry_delay_ms_max;
    std::uint64_t delay = policy.retry_delay_ms;
    const std::uint64_t failures = std::max<std::uint32_t>(attempts, 1);
    if (policy.retry == RetryKind::linear) delay = delay * std::min(failures, cap);
    if (policy.retry == RetryKind::exponential) {
        for (std::uint64_t i = 1; i < failures && delay < cap; ++i) delay *= 2;
    }
    delay = std::min(delay, cap);
    const std::uint64_t spread = delay * policy.retry_jitter_percent / 100;
    if (spread == 0) return delay;
    return delay - mixed(position * 31 + failures) % (spread + 1);
}

void put_policy(std::vector<std::byte>& out, const QueuePolicy& policy) {
    std::size_t count = 0;
    for (const auto& [setting, name] : numbers) count += number_of(policy, setting) != 0 ? 1U : 0U;
    const bool letters = policy.dead_letters();
    put_varint(out, count + (letters ? 2 : 0));
    for (const auto& [setting, name] : numbers) {
        const std::uint64_t number = number_of(policy, setting);
        if (number == 0) continue;
        put_u8(out, static_cast<std::uint8_t>(setting));
        put_varint(out, number);
    }
    if (!letters) return;
    put_u8(out, static_cast<std::uint8_t>(Setting::dead_letter_exchange));
    put_text(out, policy.dead_letter_exchange);
    put_u8(out, static_cast<std::uint8_t>(Setting::dead_letter_key));
    put_text(out, policy.dead_letter_key);
}

QueuePolicy get_policy(Reader& in) {
    QueuePolicy policy;
    const std::size_t count = in.count(2);
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const auto setting = static_cast<Setting>(in.u8());
        if (setting == Setting::dead_letter_exchange) {
            policy.dead_letter_exchange = in.text();
        } else if (setting == Setting::dead_letter_key) {
            policy.dead_letter_key = in.text();
        } else {
            set_number(policy, setting, in);
        }
    }
    if (in.ok() && !complaint_of(policy).empty()) in.reject();
    return policy;
}

}  // namespace ferry::engine
