// `ferry why`: the broker's facts in words.

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "message_json.hpp"
#include "output.hpp"
#include "why_words.hpp"

namespace ferry::cli {
namespace {

using transport::Fact;

// In each place where a message with an id may be, so many are looked at.
constexpr std::uint64_t search_default = 10'000;
constexpr std::uint64_t search_max = 10'000'000;
constexpr std::uint32_t page_messages = 1000;
constexpr std::uint64_t page_bytes = 512U << 10;

struct Options {
    std::string queue;
    std::string message;
    std::uint64_t search = search_default;
};

/// Where a message of a queue may be, and how many the queue says are there.
struct Place {
    const char* name;
    std::uint64_t transport::QueueInfo::*messages;
};
constexpr Place places[] = {
    {"unacked", &transport::QueueInfo::unacked},
    {"leaving", &transport::QueueInfo::leaving},
    {"delayed", &transport::QueueInfo::delayed},
    {"ready", &transport::QueueInfo::ready},
};

std::uint64_t detail(const Fact& fact, std::string_view name) {
    for (const auto& [key, value] : fact.details) {
        const auto* number = std::get_if<std::int64_t>(&value);
        if (key == name && number != nullptr && *number > 0)
            return static_cast<std::uint64_t>(*number);
    }
    return 0;
}

// The broker's index knows a number that stands for the key; the message has the key itself.
void add_key(transport::Client& client, const Options& options, Fact& fact) {
    if (fact.name != "waits_for_key") return;
    const auto page = client.peek_queue(options.queue, detail(fact, "ahead"), 1);
    if (!page.ok() || page.value().empty()) return;
    const transport::PeekedMessage& message = page.value().front();
    if (message.position != detail(fact, "position")) return;  // the queue has moved on
    fact.details.emplace_back("key", message.message.properties.ordering_key);
}

void print_fact(const Context& context, const Fact& fact) {
    if (!context.json) {
        std::printf("%s\n", words_of(fact).c_str());
        return;
    }
    Json details = Json::object();
    for (const auto& [name, value] : fact.details) details[name] = header_json(value);
    print_json({{"fact", fact.name}, {"details", details}});
}

int explain(const Context& context, transport::Client& client, const Options& options,
            const transport::WhyTarget& target) {
    auto facts = client.why(options.queue, target);
    if (!facts.ok()) return fail(facts.error());
    for (Fact& fact : facts.value()) {
        add_key(client, options, fact);
        print_fact(context, fact);
    }
    return exit_done;
}

struct Search {
    std::vector<std::uint64_t> positions;  // of messages with the id
    std::uint64_t looked_at = 0;
    std::string skipped;  // what was not looked at, in words; empty: nothing
};

transport::Answer<std::uint64_t> search_place(transport::Client& client, const Options& options,
                                              const char* place, Search& search) {
    std::uint64_t skip = 0;
    while (skip < options.search) {
        const auto wanted = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(page_messages, options.search - skip));
        const auto page = client.peek_queue(options.queue, skip, wanted, page_bytes,
                                            transport::Timeout{0}, place);
        if (!page.ok()) return page.error();
        if (page.value().empty()) break;
        for (const transport::PeekedMessage& message : page.value()) {
            if (message.message.properties.id == options.message)
                search.positions.push_back(message.position);
        }
        skip += page.value().size();
    }
    search.looked_at += skip;
    return skip;
}

// Nobody keeps an index of ids, so this looks at one message after another.
transport::Answer<Search> search_id(transport::Client& client, const Options& options) {
    Search search;
    const auto queue = client.show_queue(options.queue);
    if (!queue.ok()) return queue.error();
    for (const Place& place : places) {
        const auto looked_at = search_place(client, options, place.name, search);
        if (!looked_at.ok()) return looked_at.error();
        const std::uint64_t all = queue.value().*place.messages;
        if (looked_at.value() >= all) continue;
        search.skipped += (search.skipped.empty() ? "" : ", ") + with_commas(looked_at.value()) +
                          " of " + with_commas(all) + " " + place.name;
    }
    return search;
}

int not_found(const Context& context, const Options& options, const Search& search) {
    if (context.json) {
        print_json(
            {{"fact", "id_not_found"},
             {"details", {{"looked_at", search.looked_at}, {"all", search.skipped.empty()}}}});
    }
    const std::string who = "'" + options.queue + "' with the id '" + options.message + "'";
    if (search.skipped.empty()) {
        return fail(exit_refused, "there is no message in " + who + ": all " +
                                      with_commas(search.looked_at) +
                                      " were looked at; it was settled, or never routed here");
    }
    return fail(exit_refused, "no message in " + who + " is among those that were looked at (" +
                                  search.skipped +
                                  "): look at more with --search, or ask for its position");
}

std::optional<std::uint64_t> position_of(const std::string& text) {
    std::uint64_t position = 0;
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, position);
    if (parsed.ec != std::errc() || parsed.ptr != end || position == 0) return std::nullopt;
    return position;
}

int why_message(const Context& context, transport::Client& client, const Options& options) {
    const auto search = search_id(client, options);
    if (!search.ok()) return fail(search.error());
    std::vector<std::uint64_t> positions = search.value().positions;
    // Delayed messages the broker finds by their id, however many there are.
    const auto delayed = client.why(options.queue, {0, options.message});
    if (!delayed.ok()) return fail(delayed.error());
    for (const Fact& fact : delayed.value()) {
        if (const std::uint64_t position = detail(fact, "position"); position != 0)
            positions.push_back(position);
    }
    std::sort(positions.begin(), positions.end());
    positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
    // By id first: an id may well be a number.
    const std::optional<std::uint64_t> position = position_of(options.message);
    if (positions.empty() && position) positions.push_back(*position);
    if (positions.empty()) return not_found(context, options, search.value());
    int exit = exit_done;
    for (const std::uint64_t at : positions)
        exit = std::max(exit, explain(context, client, options, {at, {}}));
    return exit;
}

int why(const Context& context, const Options& options) {
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    if (!options.message.empty()) return why_message(context, *client.value(), options);
    return explain(context, *client.value(), options, {});
}

}  // namespace

void add_why(Command& app, Context& context) {
    auto options = std::make_shared<Options>();
    Command* command =
        app.add_subcommand("why", "Why messages of a queue, or one of them, are not delivered");
    command->add_option("queue", options->queue, "The queue")->required();
    command->add_option("message", options->message, "A message's id, or its position");
    command
        ->add_option("--search", options->search,
                     "Messages looked at for an id, in each place where one may be")
        ->range(1, search_max)
        ->capture_default_str();
    command->footer(examples({"ferry why orders", "ferry why orders invoice-17",
                              "ferry why orders invoice-17 --search 1000000",
                              "ferry why orders 40960 --json"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return why(context, *options); };
    });
}

}  // namespace ferry::cli
