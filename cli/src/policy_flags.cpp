#include "policy_flags.hpp"

#include "command.hpp"
#include "options.hpp"

namespace ferry::cli {

void add_policy_flags(Command& command, PolicyFlags& flags) {
    transport::QueuePolicy& policy = flags.policy;
    command.add_option("--retry", policy.retry, "How delays between deliveries grow")
        ->one_of({"none", "fixed", "linear", "exponential"});
    add_duration(command, "--retry-delay", flags.retry_delay,
                 "Delay after the first failed delivery, or the step");
    add_duration(command, "--retry-max", flags.retry_delay_max, "No delay is longer");
    command
        .add_option("--retry-jitter", policy.retry_jitter_percent,
                    "Percent by which delays may be shorter")
        ->range(0, 100);
    command.add_option("--max-deliveries", policy.max_deliveries,
                       "After so many a message is a dead letter (or parked)");
    add_long_duration(command, "--ttl", flags.ttl, "Messages expire after so long in the queue");
    add_long_duration(command, "--expires", flags.expires,
                      "The queue goes when nobody used it for so long");
    add_long_duration(command, "--dedupe-window", flags.dedupe_window,
                      "Message ids seen so recently are not stored again (at most 7 days)");
    command.add_option("--dedupe-max-ids", policy.dedupe_max_ids,
                       "At most so many ids are remembered (default 65536)");
    command.add_option("--max-length", policy.max_length, "At most so many messages");
    add_size(command, "--max-bytes", flags.max_bytes, "At most so many bytes of messages");
    command
        .add_option("--overflow", policy.overflow,
                    "What happens beyond that: the oldest go, or publishes are refused")
        ->one_of({"drop_head", "reject_publish", "dead_letter_head"});
    command.add_option("--dead-letter", policy.dead_letter_key,
                       "Queue for dead letters; with --dead-letter-exchange: routing key");
    command.add_option("--dead-letter-exchange", policy.dead_letter_exchange,
                       "Exchange for dead letters");
}

transport::QueuePolicy policy_of(const PolicyFlags& flags) {
    const auto milliseconds = [](const std::string& text) {
        return text.empty() ? 0 : static_cast<std::uint64_t>(parse_duration(text)->count());
    };
    transport::QueuePolicy policy = flags.policy;
    policy.retry_delay_ms = milliseconds(flags.retry_delay);
    policy.retry_delay_max_ms = milliseconds(flags.retry_delay_max);
    policy.message_ttl_ms = milliseconds(flags.ttl);
    policy.expires_ms = milliseconds(flags.expires);
    policy.dedupe_window_ms = milliseconds(flags.dedupe_window);
    if (!flags.max_bytes.empty()) policy.max_bytes = *parse_size(flags.max_bytes);
    return policy;
}

}  // namespace ferry::cli
