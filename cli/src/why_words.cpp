#include "why_words.hpp"

#include <ctime>

#include <nlohmann/json.hpp>

#include "message_json.hpp"
#include "output.hpp"
#include "units.hpp"

namespace ferry::cli {
namespace {

using transport::Fact;

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
    [[nodiscard]] std::string span(std::string_view name) const { return human_span(number(name)); }
    [[nodiscard]] std::string date(std::string_view name) const {
        const auto seconds = static_cast<std::time_t>(number(name) / 1000);
        std::tm parts{};
        ::gmtime_r(&seconds, &parts);
        char text[32];
        std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
        return text;
    }
    /// "'billing' (session 7, subscription 1)"; `which`: nothing, or to_. `none` if nobody is
    /// named.
    [[nodiscard]] std::string consumer(const std::string& which = {},
                                       const char* none = "a consumer") const {
        if (!has(which + "session")) return none;
        const std::string client = text(which + "client");
        return (client.empty() ? "a consumer" : "'" + client + "'") + " (session " +
               std::to_string(number(which + "session")) + ", subscription " +
               std::to_string(number(which + "subscription")) + ")";
    }
    /// "from ... to ...", of keys that move.
    [[nodiscard]] std::string move() const {
        return "from " + consumer({}, "who pulled") + " to " + consumer("to_", "nobody yet");
    }
    [[nodiscard]] bool flag(std::string_view name) const {
        const wire::HeaderValue* value = find(name);
        const auto* flag = value != nullptr ? std::get_if<bool>(value) : nullptr;
        return flag != nullptr && *flag;
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
    {"stuck",
     [](const Words& w) {
         return "- " + w.consumer() + " let a lease end and has not been heard for " +
                w.span("silent_ms") + ": the others get the messages until it settles one.";
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
         return w.messages("waiting for the next attempt after a failure, the first for ") +
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

// What keeps keys.
const Sentence order_sentences[] = {
    {"single_active",
     [](const Words& w) {
         return "Only " + w.consumer() + " gets messages, as the single active consumer; " +
                w.count("waiting") + " more wait to take over.";
     }},
    {"waits_for_keys",
     [](const Words& w) {
         return w.count("messages") +
                " messages were looked at and wait for their key or its consumer; " +
                w.count("keys") + " keys are taken.";
     }},
    {"waits_for_key",
     [](const Words& w) {
         const std::string key = w.text("key");
         return "The message at position " + std::to_string(w.number("position")) +
                " waits for its key" + (key.empty() ? "" : " '" + key + "'") +
                ", which the message at position " + std::to_string(w.number("behind")) + " has.";
     }},
    {"holder_is_ready",
     [](const Words& w) {
         return "- That one is ready, with " + w.count("ahead") + " before it, and was delivered " +
                w.count("deliveries") + " times before.";
     }},
    {"holder_is_with_consumer",
     [](const Words& w) {
         return "- That one was delivered to " + w.consumer() + " " + w.span("since_ms") +
                " ago and is not acked; its lease ends in " + w.span("lease_left_ms") + ".";
     }},
    {"holder_is_waiting_for_retry",
     [](const Words& w) {
         return "- That one failed (deliveries: " + w.count("deliveries") +
                ") and is tried again in " + w.span("in_ms") + ".";
     }},
    {"holder_is_delayed",
     [](const Words& w) { return "- That one is delayed for another " + w.span("in_ms") + "."; }},
    {"key_comes_to",
     [](const Words& w) {
         return "- Its key comes to " + w.consumer() +
                (w.flag("takes_more") ? ", which takes more."
                                      : ", which takes no more before it acks something.");
     }},
    {"slot_drains",
     [](const Words& w) {
         return "- Its key moves " + w.move() +
                ", and waits until what is delivered of its slot is settled (unacked: " +
                w.count("unacked") + ").";
     }},
    {"slots_move",
     [](const Words& w) {
         return "- Keys of " + w.count("slots") + " slots move " + w.move() +
                " when what is delivered of them is settled (unacked: " + w.count("unacked") + ").";
     }},
    {"looks_no_further",
     [](const Words& w) {
         return "The queue looks no further: " + w.count("runs") +
                " runs of messages wait for their keys.";
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

template <std::size_t N>
const Sentence* find(const Sentence (&sentences)[N], const std::string& fact) {
    for (const Sentence& sentence : sentences) {
        if (fact == sentence.fact) return &sentence;
    }
    return nullptr;
}

}  // namespace

std::string words_of(const Fact& fact) {
    const Sentence* sentence = find(queue_sentences, fact.name);
    if (sentence == nullptr) sentence = find(order_sentences, fact.name);
    if (sentence == nullptr) sentence = find(message_sentences, fact.name);
    if (sentence != nullptr) return sentence->words(Words(fact));
    // A newer broker knows more.
    std::string out = fact.name + ":";
    for (const auto& [name, value] : fact.details)
        out += " " + name + "=" + header_json(value).dump();
    return out;
}

}  // namespace ferry::cli
