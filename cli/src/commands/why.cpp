// `ferry why`: the broker's facts in words.

#include <charconv>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "message_json.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

using transport::Fact;

struct Options {
    std::string queue;
    std::string message;
};

// So many messages are looked at for an id, in each place where one may be.
constexpr std::uint64_t searched_max = 10'000;
constexpr const char* places[] = {"unacked", "leaving", "delayed", "ready"};

/// Details of a fact as words; empty where the broker did not send one.
class Words {
public:
    explicit Words(const Fact& fact) : fact_(fact) {}

    [[nodiscard]] std::uint64_t number(std::string_view name) const {
        const wire::HeaderValue* value = find(name);
        const auto* number = value != nullptr ? std::get_if<std::int64_t>(value) : nullptr;
        return number != nullptr && *number > 0 ? static_cast<std::uint64_t>(*number) : 0;
    }
    [[nodiscard]] std::string count(std::string_view name) const {
        return with_commas(number(name));
    }
    /// "1 message is", "2 messages are" and what follows.
    [[nodiscard]] std::string messages(const std::string& rest) const {
        const std::uint64_t n = number("messages");
        return n == 1 ? "1 message is " + rest : with_commas(n) + " messages are " + rest;
    }
    [[nodiscard]] std::string text(std::string_view name) const {
        const wire::HeaderValue* value = find(name);
        const auto* text = value != nullptr ? std::get_if<std::string>(value) : nullptr;
        return text != nullptr ? *text : std::string();
    }
    [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
    [[nodiscard]] std::string span(std::string_view name) const {
        const std::uint64_t ms = number(name);
        if (ms < 1000) return std::to_string(ms) + " ms";
        if (ms < 120'000) return std::to_string(ms / 1000) + " s";
        if (ms < 7'200'000) return std::to_string(ms / 60'000) + " min";
        return std::to_string(ms / 3'600'000) + " h";
    }
    [[nodiscard]] std::string date(std::string_view name) const {
        const auto seconds = static_cast<std::time_t>(number(name) / 1000);
        std::tm parts{};
        ::gmtime_r(&seconds, &parts);
        char text[32];
        std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
        return text;
    }
    /// "'billing' (session 7, subscription 1)"
    [[nodiscard]] std::string consumer() const {
        const std::string client = text("client");
        return (client.empty() ? "a consumer" : "'" + client + "'") + " (session " +
               std::to_string(number("session")) + ", subscription " +
               std::to_string(number("subscription")) + ")";
    }
    /// Why a message leaves, and what is in its way.
    [[nodiscard]] std::string leaving() const {
        std::string out = " Reason: " + text("reason") + ".";
        if (has("no_dead_letters")) {
            return out +
                   " The queue names no place for dead letters: set one by a policy, or move "
                   "it with ferry queue move --parked.";
        }
        const std::string exchange = text("exchange");
        const std::string key = text("key");
        const std::string place =
            exchange.empty() ? "queue '" + key + "'" : "exchange '" + exchange + "'";
        if (has("missing")) return out + " There is no " + place + ": declare it.";
        if (!exchange.empty() || !key.empty()) out += " It goes to " + place + ".";
        return out;
    }

private:
    [[nodiscard]] const wire::HeaderValue* find(std::string_view name) const {
        for (const auto& [key, value] : fact_.details) {
            if (key == name) return &value;
        }
        return nullptr;
    }
    const Fact& fact_;
};

struct Sentence {
    const char* fact;
    std::string (*words)(const Words&);
};

// What a queue's facts mean.
const Sentence queue_sentences[] = {
    {"ready", [](const Words& w) { return w.messages("ready."); }},
    {"nothing_ready", [](const Words&) { return std::string("No message is ready."); }},
    {"exclusive_queue",
     [](const Words& w) {
         return "Only the connection that declared the queue may consume: session " +
                std::to_string(w.number("session")) + ".";
     }},
    {"no_consumers", [](const Words&) { return std::string("Nobody consumes from the queue."); }},
    {"no_credit",
     [](const Words& w) {
         return "None of its " + w.count("consumers") +
                " consumers takes more before it acks something:";
     }},
    {"window_full",
     [](const Words& w) {
         return "- " + w.consumer() + " holds " + w.count("unacked") + " of " +
                w.count("window_messages") + " messages unacked, the oldest for " +
                w.span("oldest_ms") + ".";
     }},
    {"window_bytes_full",
     [](const Words& w) {
         return "- " + w.consumer() + " holds " + human_bytes(w.number("unacked_bytes")) +
                " unacked and takes no more than " + human_bytes(w.number("window_bytes")) +
                "; the oldest for " + w.span("oldest_ms") + ".";
     }},
    {"paused", [](const Words& w) { return "- " + w.consumer() + " has paused (window 0)."; }},
    {"takes_more",
     [](const Words& w) {
         return "- " + w.consumer() + " takes more: it holds " + w.count("unacked") + " of " +
                w.count("window_messages") + ".";
     }},
    {"more_consumers", [](const Words& w) { return "- and " + w.count("consumers") + " more."; }},
    {"unacked", [](const Words& w) { return w.messages("with consumers, unacked."); }},
    {"being_delivered", [](const Words&) { return std::string("They are being delivered."); }},
    {"waits_for_disk",
     [](const Words&) { return std::string("They are not on the disk yet; that comes first."); }},
    {"reads_index",
     [](const Words&) { return std::string("Their index is being read from the disk."); }},
    {"index_damaged",
     [](const Words&) {
         return std::string(
             "The queue stands still: its index on disk cannot be read. See the broker's log.");
     }},
    {"delayed",
     [](const Words& w) {
         return w.messages("delayed; the next is due at ") + w.date("next_at_ms") + ", in " +
                w.span("next_in_ms") + ".";
     }},
    {"waits_for_retry",
     [](const Words& w) {
         return w.count("messages") +
                " failed messages wait for their next attempt, the next for " +
                w.span("next_in_ms") + ".";
     }},
    {"leaving", [](const Words& w) { return w.messages("on the way elsewhere."); }},
    {"parked",
     [](const Words& w) {
         return w.messages("parked: no queue takes what is parked.") + w.leaving();
     }},
    {"expired",
     [](const Words& w) {
         return w.count("messages") + " messages expired since the broker started.";
     }},
    {"dead_lettered",
     [](const Words& w) {
         const std::string exchange = w.text("exchange");
         return w.count("messages") + " messages became dead letters since the broker started" +
                (exchange.empty() ? w.text("key").empty() ? "." : ", in '" + w.text("key") + "'."
                                  : ", through exchange '" + exchange + "'.");
     }},
    {"full",
     [](const Words& w) {
         return "The queue is full (max_length " + w.count("max_length") + ", max_bytes " +
                w.count("max_bytes") + "; 0: none): publishes are refused.";
     }},
    {"dropped",
     [](const Words& w) {
         return w.count("messages") +
                " messages were dropped over the limit since the broker started.";
     }},
    {"repeated",
     [](const Words& w) {
         return w.count("messages") +
                " publishes were not stored since the broker started: their id had been seen.";
     }},
    {"disk_full",
     [](const Words&) {
         return std::string(
             "The broker's disk is full: publishes are refused until there is room.");
     }},
};

// What a message's facts mean.
const Sentence message_sentences[] = {
    {"is_ready",
     [](const Words& w) {
         const std::uint64_t deliveries = w.number("deliveries");
         return "The message is ready, with " + w.count("ahead") + " before it" +
                (deliveries == 0
                     ? "."
                     : "; it was delivered " + w.count("deliveries") + " times before.");
     }},
    {"is_with_consumer",
     [](const Words& w) {
         return "The message was delivered to " + w.consumer() + " " + w.span("since_ms") +
                " ago and is not acked. Attempt " + w.count("attempt") + ", tag " +
                std::to_string(w.number("tag")) + "; its lease ends in " + w.span("lease_left_ms") +
                ".";
     }},
    {"is_waiting_for_retry",
     [](const Words& w) {
         return "The message failed " + w.count("deliveries") + " times and is tried again in " +
                w.span("in_ms") + ".";
     }},
    {"is_delayed",
     [](const Words& w) {
         return "The message is delayed until " + w.date("at_ms") + ", for another " +
                w.span("in_ms") + ".";
     }},
    {"is_leaving",
     [](const Words& w) { return "The message is on its way elsewhere." + w.leaving(); }},
    {"is_parked",
     [](const Words& w) {
         return "The message has been parked for " + w.span("since_ms") + ": no queue takes it." +
                w.leaving();
     }},
    {"is_gone",
     [](const Words& w) {
         return "The message is not in the queue any more, if it ever was: everything below "
                "position " +
                std::to_string(w.number("floor")) +
                " is settled (acked, rejected, expired, dropped, purged or moved).";
     }},
    {"is_not_here",
     [](const Words&) {
         return std::string(
             "The queue does not hold a message at this position: it was settled (acked, rejected, "
             "expired, dropped, purged or moved), or was never routed here.");
     }},
    {"may_be_deep",
     [](const Words& w) {
         return "The message may lie deep in the backlog, behind at least " + w.count("ahead") +
                " others, or is gone: that part of the index is on disk.";
     }},
    {"not_written_yet",
     [](const Words&) {
         return std::string("No message has this position yet: the log does not reach so far.");
     }},
};

std::string words_of(const Fact& fact) {
    for (const Sentence& sentence : queue_sentences) {
        if (fact.name == sentence.fact) return sentence.words(Words(fact));
    }
    for (const Sentence& sentence : message_sentences) {
        if (fact.name == sentence.fact) return sentence.words(Words(fact));
    }
    // A newer broker knows more.
    std::string out = fact.name + ":";
    for (const auto& [name, value] : fact.details)
        out += " " + name + "=" + header_json(value).dump();
    return out;
}

int print_facts(const Context& context, const std::vector<Fact>& facts) {
    for (const Fact& fact : facts) {
        if (context.json) {
            Json details = Json::object();
            for (const auto& [name, value] : fact.details) details[name] = header_json(value);
            print_json({{"fact", fact.name}, {"details", details}});
        } else {
            std::printf("%s\n", words_of(fact).c_str());
        }
    }
    return exit_done;
}

/// Positions of messages with this id, found by looking. `looked_at` counts them all.
transport::Answer<std::vector<std::uint64_t>> search(transport::Client& client,
                                                     const Options& options,
                                                     std::uint64_t& looked_at) {
    std::vector<std::uint64_t> found;
    for (const char* place : places) {
        for (std::uint64_t skip = 0; skip < searched_max;) {
            const auto page = client.peek_queue(options.queue, skip, 1000, 512U << 10,
                                                transport::Timeout{0}, place);
            if (!page.ok()) return page.error();
            if (page.value().empty()) break;
            for (const transport::PeekedMessage& message : page.value()) {
                if (message.message.properties.id == options.message)
                    found.push_back(message.position);
            }
            skip += page.value().size();
            looked_at += page.value().size();
        }
    }
    return found;
}

int why_message(const Context& context, transport::Client& client, const Options& options) {
    // By id first: an id may well be a number.
    std::uint64_t looked_at = 0;
    const auto positions = search(client, options, looked_at);
    if (!positions.ok()) return fail(positions.error());
    std::vector<transport::WhyTarget> targets;
    for (const std::uint64_t position : positions.value()) targets.push_back({position, {}});
    if (targets.empty()) {
        const auto delayed = client.why(options.queue, {0, options.message});
        if (!delayed.ok()) return fail(delayed.error());
        for (const Fact& fact : delayed.value()) {
            const std::uint64_t position = Words(fact).number("position");
            if (position != 0) targets.push_back({position, {}});
        }
    }
    std::uint64_t position = 0;
    const char* const end = options.message.data() + options.message.size();
    const auto parsed = std::from_chars(options.message.data(), end, position);
    if (targets.empty() && parsed.ec == std::errc() && parsed.ptr == end && position != 0)
        targets.push_back({position, {}});
    if (targets.empty()) {
        return fail(exit_refused, "no message with the id '" + options.message +
                                      "' was found among the " + with_commas(looked_at) +
                                      " that were looked at in '" + options.queue +
                                      "': it was settled, was never routed here, or lies deeper");
    }
    for (const transport::WhyTarget& target : targets) {
        const auto facts = client.why(options.queue, target);
        if (!facts.ok()) return fail(facts.error());
        print_facts(context, facts.value());
    }
    return exit_done;
}

int why(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    if (!options.message.empty()) return why_message(context, *client.value(), options);
    const auto facts = client.value()->why(options.queue);
    if (!facts.ok()) return fail(facts.error());
    return print_facts(context, facts.value());
}

}  // namespace

void add_why(Command& app, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command =
        app.add_subcommand("why", "Why messages of a queue, or one of them, are not delivered");
    command->add_option("queue", options->queue, "The queue")->required();
    command->add_option("message", options->message, "A message's id, or its position");
    command->footer(examples(
        {"ferry why orders", "ferry why orders invoice-17", "ferry why orders 40960 --json"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return why(context, *options); };
    });
}

}  // namespace ferry::cli
