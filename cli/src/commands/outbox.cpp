#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "ferry/outbox/admin.hpp"
#include "ferry/outbox/outbox.hpp"
#include "ferry/platform/clock.hpp"
#include "message_json.hpp"
#include "options.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "units.hpp"

namespace ferry::cli {
namespace {

using sqlite::Database;
using Access = Database::Access;

struct Options {
    std::string database;
    std::string max_payload;
    bool exact = false;
    std::string interval;
    bool refused = false;
    bool parked = false;
    bool sent = false;
    outbox::Filter filter;
    std::vector<std::int64_t> ids;
    bool payload_only = false;
    std::string older_than;
    bool repair = false;
};

int fail_with(const sqlite::Problem& problem) {
    return fail(exit_refused, problem.text);
}

std::uint64_t now_ms() {
    return system_clock().now().wall_ms;
}

/// What comes from the database must not steer the terminal.
std::string printable(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    return out;
}

std::string span_text(std::uint64_t ms) {
    if (ms < 1000) return std::to_string(ms) + " ms";
    if (ms < 120'000) return std::to_string(ms / 1000) + " s";
    if (ms < 7'200'000) return std::to_string(ms / 60'000) + " min";
    if (ms < 172'800'000) return std::to_string(ms / 3'600'000) + " h";
    return with_commas(ms / 86'400'000) + " days";
}

std::uint64_t age_of(std::uint64_t moment_ms) {
    const std::uint64_t now = now_ms();
    return now > moment_ms ? now - moment_ms : 0;
}

int init(const Context& context, const Options& options) {
    outbox::Options opening;
    opening.init = true;
    opening.wake_hook = false;
    if (!options.max_payload.empty()) {
        const std::uint64_t bytes = *parse_size(options.max_payload);
        if (bytes < 1 || bytes > outbox::limits::payload_bytes_cap) {
            return fail(exit_usage, "--max-payload must be 1 to " +
                                        with_commas(outbox::limits::payload_bytes_cap) + " bytes");
        }
        opening.init_options.payload_bytes_max = static_cast<std::uint32_t>(bytes);
    }
    const auto made = outbox::Outbox::open(options.database, opening);
    if (!made.ok()) return fail_with(made.error());
    const auto figures = outbox::figures(made.value().database());
    if (!figures.ok()) return fail_with(figures.error());
    if (context.json) {
        print_json({{"database", options.database},
                    {"producer", figures.value().producer},
                    {"schema_version", figures.value().schema_version},
                    {"payload_bytes_max", figures.value().payload_bytes_max}});
    } else {
        std::fprintf(stderr, "%s has an outbox: producer %s, schema version %d\n",
                     printable(options.database).c_str(), figures.value().producer.c_str(),
                     figures.value().schema_version);
    }
    return exit_done;
}

// ---- status ----

Json status_json(const outbox::Figures& f, std::uint64_t wal_bytes, std::optional<double> rate) {
    Json out{{"producer", f.producer},
             {"epoch", f.epoch},
             {"schema_version", f.schema_version},
             {"pending", f.pending},
             {"pending_exact", f.pending_exact},
             {"oldest_age_ms", nullptr},
             {"retrying", f.retrying},
             {"parked", f.parked},
             {"last_id", f.last_id},
             {"last_sent", f.last_sent},
             {"sent_total", f.sent_total},
             {"sent_ms", nullptr},
             {"sent_per_second", nullptr},
             {"skipped_total", f.skipped_total},
             {"policy", f.policy},
             {"retain_ms", f.retain_ms},
             {"payload_bytes_max", f.payload_bytes_max},
             {"relay_at_work", f.lease_until_ms > now_ms()},
             {"relay", f.lease_owner},
             {"wal_bytes", wal_bytes}};
    if (f.oldest_ms) out["oldest_age_ms"] = age_of(*f.oldest_ms);
    if (f.sent_ms) out["sent_ms"] = *f.sent_ms;
    if (rate) out["sent_per_second"] = *rate;
    return out;
}

void print_status(const outbox::Figures& f, std::uint64_t wal_bytes, std::optional<double> rate) {
    const auto line = [](const char* name, const std::string& value) {
        std::printf("%-16s %s\n", name, value.c_str());
    };
    line("pending", (f.pending_exact ? "" : "at most ") + with_commas(f.pending));
    line("oldest", f.oldest_ms ? span_text(age_of(*f.oldest_ms)) : "-");
    line("retrying", with_commas(f.retrying));
    line("parked", with_commas(f.parked));
    line("sent", with_commas(f.sent_total) +
                     (f.sent_ms ? ", the last one " + span_text(age_of(*f.sent_ms)) + " ago" : ""));
    if (rate) line("rate", with_commas(static_cast<std::uint64_t>(*rate + 0.5)) + " per second");
    line("skipped", with_commas(f.skipped_total));
    line("relay", f.lease_until_ms > now_ms() ? printable(f.lease_owner) : "none at work");
    line("policy", printable(f.policy));
    line("kept after", f.retain_ms == 0 ? "not at all" : span_text(f.retain_ms));
    line("producer", printable(f.producer) + ", epoch " + std::to_string(f.epoch));
    line("last id", with_commas(f.last_id) + ", sent up to " + with_commas(f.last_sent));
    line("largest payload", human_bytes(f.payload_bytes_max));
    line("log", human_bytes(wal_bytes));
}

int status(const Context& context, const Options& options) {
    const auto database = Database::open(options.database, Access::read_only);
    if (!database.ok()) return fail_with(database.error());
    auto figures = outbox::figures(database.value(), options.exact);
    if (!figures.ok()) return fail_with(figures.error());
    std::optional<double> rate;
    if (!options.interval.empty()) {
        const auto wait = *parse_duration(options.interval);
        const std::uint64_t before = figures.value().sent_total;
        const auto began = std::chrono::steady_clock::now();
        std::this_thread::sleep_for(wait);
        figures = outbox::figures(database.value(), options.exact);
        if (!figures.ok()) return fail_with(figures.error());
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        rate = static_cast<double>(figures.value().sent_total - before) / took.count();
    }
    std::error_code none;
    const auto wal = std::filesystem::file_size(options.database + "-wal", none);
    const std::uint64_t wal_bytes = none ? 0 : wal;
    if (context.json) {
        print_json(status_json(figures.value(), wal_bytes, rate));
    } else {
        print_status(figures.value(), wal_bytes, rate);
    }
    return exit_done;
}

// ---- list and show ----

Json entry_json(const outbox::Entry& entry) {
    Json out{{"id", entry.id},
             {"standing", outbox::name_of(entry.standing)},
             {"exchange", entry.exchange},
             {"routing_key", entry.routing_key},
             {"payload_bytes", entry.payload_bytes},
             {"created_ms", entry.created_ms}};
    if (!entry.ordering_key.empty()) out["ordering_key"] = entry.ordering_key;
    if (!entry.stream.empty()) {
        out["stream"] = entry.stream;
        out["version"] = entry.version;
    }
    if (entry.sent_ms != 0) out["sent_ms"] = entry.sent_ms;
    if (entry.attempts != 0 || !entry.reason.empty()) {
        out["attempts"] = entry.attempts;
        out["reason_code"] = entry.reason_code;
        out["reason"] = entry.reason;
        out["next_ms"] = nullptr;
        if (entry.next_ms) out["next_ms"] = *entry.next_ms;
    }
    return out;
}

int list(const Context& context, const Options& options) {
    outbox::Filter filter = options.filter;
    using Which = outbox::Filter::Which;
    filter.which = options.sent      ? Which::sent
                   : options.parked  ? Which::parked
                   : options.refused ? Which::refused
                                     : Which::pending;
    const auto database = Database::open(options.database, Access::read_only);
    if (!database.ok()) return fail_with(database.error());
    const auto entries = outbox::list(database.value(), filter);
    if (!entries.ok()) return fail_with(entries.error());
    std::vector<std::vector<std::string>> rows{
        {">id", "standing", "to", "key", ">bytes", ">age", ">attempts", "reason"}};
    for (const outbox::Entry& entry : entries.value()) {
        if (context.json) {
            print_json(entry_json(entry));
            continue;
        }
        rows.push_back(
            {std::to_string(entry.id), outbox::name_of(entry.standing),
             printable(entry.exchange.empty() ? entry.routing_key
                                              : entry.exchange + "/" + entry.routing_key),
             entry.ordering_key.empty() ? "-" : printable(entry.ordering_key),
             with_commas(entry.payload_bytes), span_text(age_of(entry.created_ms)),
             entry.attempts == 0 ? "-" : std::to_string(entry.attempts), printable(entry.reason)});
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

Json details_json(const outbox::Details& details) {
    Json out = entry_json(details.entry);
    if (!details.content_type.empty()) out["content_type"] = details.content_type;
    if (!details.headers_json.empty()) {
        Json headers = Json::parse(details.headers_json, nullptr, false);
        out["headers"] = headers.is_discarded() ? Json(details.headers_json) : std::move(headers);
    }
    if (details.deliver_at_ms != 0) out["deliver_at_ms"] = details.deliver_at_ms;
    if (details.expires_at_ms != 0) out["expires_at_ms"] = details.expires_at_ms;
    if (details.priority != 0) out["priority"] = details.priority;
    if (!details.correlation_id.empty()) out["correlation_id"] = details.correlation_id;
    if (!details.reply_to.empty()) out["reply_to"] = details.reply_to;
    put_bytes(out, "payload", details.payload);
    return out;
}

int show(const Context& context, const Options& options) {
    const auto database = Database::open(options.database, Access::read_only);
    if (!database.ok()) return fail_with(database.error());
    const auto details = outbox::show(database.value(), options.ids.front());
    if (!details.ok()) return fail_with(details.error());
    if (options.payload_only) {
        write_out(details.value().payload);
        return exit_done;
    }
    const Json json = details_json(details.value());
    if (context.json) {
        print_json(json);
        return exit_done;
    }
    for (const auto& [name, value] : json.items()) {
        const std::string text = value.is_string()
                                     ? value.get<std::string>()
                                     : value.dump(-1, ' ', false, Json::error_handler_t::replace);
        std::printf("%-16s %s\n", name.c_str(), printable(text).c_str());
    }
    return exit_done;
}

// ---- changes ----

int report(const Context& context, const char* name, const char* sentence,
           const sqlite::Answer<std::uint64_t>& count) {
    if (!count.ok()) return fail_with(count.error());
    if (context.json) {
        print_json({{name, count.value()}});
    } else {
        std::fprintf(stderr, "%s %s\n", with_commas(count.value()).c_str(), sentence);
    }
    return exit_done;
}

int check_selection(const Options& options) {
    if (options.ids.empty() == options.parked) return exit_done;
    return fail(exit_usage, options.parked ? "give ids or --parked, not both"
                                           : "say which: ids, or --parked for all that are parked");
}

int retry(const Context& context, const Options& options) {
    if (const int bad = check_selection(options); bad != exit_done) return bad;
    const auto database = Database::open(options.database, Access::read_write);
    if (!database.ok()) return fail_with(database.error());
    return report(context, "retried", "messages are tried again",
                  outbox::retry(database.value(), options.ids));
}

int skip(const Context& context, const Options& options) {
    if (const int bad = check_selection(options); bad != exit_done) return bad;
    const auto database = Database::open(options.database, Access::read_write);
    if (!database.ok()) return fail_with(database.error());
    return report(context, "skipped", "messages are given up",
                  outbox::skip(database.value(), options.ids, now_ms()));
}

int purge(const Context& context, const Options& options) {
    const auto database = Database::open(options.database, Access::read_write);
    if (!database.ok()) return fail_with(database.error());
    const auto age = static_cast<std::uint64_t>(parse_duration(options.older_than)->count());
    const std::uint64_t now = now_ms();
    catch_interrupts();
    Progress progress("purging", 0);
    const auto purged =
        outbox::purge_sent(database.value(), now > age ? now - age : 0, [&](std::uint64_t done) {
            progress.at(done);
            return !interrupted();
        });
    progress.finish();
    return report(context, "purged", "sent messages deleted", purged);
}

int verify(const Context& context, const Options& options) {
    const auto database =
        Database::open(options.database, options.repair ? Access::read_write : Access::read_only);
    if (!database.ok()) return fail_with(database.error());
    const auto findings = outbox::verify(database.value(), options.repair);
    if (!findings.ok()) return fail_with(findings.error());
    bool damaged = false;
    Json listed = Json::array();
    for (const outbox::Finding& finding : findings.value()) {
        damaged = damaged || finding.severity == outbox::Finding::Severity::damage;
        listed.push_back({{"severity", outbox::name_of(finding.severity)}, {"text", finding.text}});
        if (!context.json) {
            std::fprintf(stderr, "%s: %s\n", outbox::name_of(finding.severity),
                         printable(finding.text).c_str());
        }
    }
    if (context.json) {
        print_json({{"database", options.database}, {"ok", !damaged}, {"findings", listed}});
    } else {
        std::printf("%s\n", damaged ? "DAMAGED: see above" : "sound");
    }
    if (damaged && context.json) std::fprintf(stderr, "ferry: the outbox is damaged\n");
    return damaged ? exit_refused : exit_done;
}

// ---- the command table ----

using Run = int (*)(const Context&, const Options&);

Command* add_command(Command& parent, Context& context, const char* name, const char* about,
                     const std::shared_ptr<Options>& options, Run run) {
    Command* command = parent.add_subcommand(name, about);
    command->add_option("database", options->database, "The application's SQLite file")->required();
    command->callback([&context, options, run] {
        context.run = [&context, options, run] { return run(context, *options); };
    });
    return command;
}

void add_readers(Command& parent, Context& context) {
    auto status_options = std::make_shared<Options>();
    Command* command = add_command(parent, context, "status", "Print how much waits to be sent",
                                   status_options, status);
    command->add_flag("--exact", status_options->exact,
                      "Count the rows even if there are millions");
    add_duration(*command, "--interval", status_options->interval,
                 "Watch so long, and print how many are sent per second");
    command->footer(examples({"ferry outbox status app.db", "ferry outbox status app.db --json",
                              "ferry outbox status app.db --interval 5s"}));

    auto list_options = std::make_shared<Options>();
    command = add_command(parent, context, "list", "Print messages that wait to be sent",
                          list_options, list);
    auto* refused =
        command->add_flag("--refused", list_options->refused, "Only those that the broker refused");
    auto* parked = command->add_flag("--parked", list_options->parked,
                                     "Only refused ones that wait for an operator");
    auto* sent =
        command->add_flag("--sent", list_options->sent, "Messages that were sent and kept");
    refused->excludes(parked)->excludes(sent);
    parked->excludes(sent);
    command->add_option("--key", list_options->filter.ordering_key, "Only of this ordering key");
    command->add_option("--exchange", list_options->filter.exchange, "Only to this exchange");
    command->add_option("--after", list_options->filter.after_id, "Only with larger ids");
    command->add_option("--count", list_options->filter.count, "At most so many")
        ->range(1, outbox::limits::list_rows_max)
        ->capture_default_str();
    command->footer(examples(
        {"ferry outbox list app.db --parked", "ferry outbox list app.db --key customer-7 --json"}));

    auto show_options = std::make_shared<Options>();
    command = add_command(parent, context, "show", "Print all of one message", show_options, show);
    command->add_option("id", show_options->ids, "Its id")->required()->expected(1);
    command->add_flag("--payload", show_options->payload_only,
                      "Print the payload and nothing else");
    command->footer(examples({"ferry outbox show app.db 17", "ferry outbox show app.db 17 --json",
                              "ferry outbox show app.db 17 --payload > message"}));
}

void add_changers(Command& parent, Context& context) {
    auto retry_options = std::make_shared<Options>();
    Command* command = add_command(parent, context, "retry", "Try refused messages again now",
                                   retry_options, retry);
    command->add_option("id", retry_options->ids, "Their ids");
    command->add_flag("--parked", retry_options->parked, "All that are parked");
    command->footer(
        examples({"ferry outbox retry app.db 17 18", "ferry outbox retry app.db --parked"}));

    auto skip_options = std::make_shared<Options>();
    command = add_command(parent, context, "skip",
                          "Give up messages: they are never sent. Events stay in their streams",
                          skip_options, skip);
    command->add_option("id", skip_options->ids, "Their ids");
    command->add_flag("--parked", skip_options->parked, "All that are parked");
    command->footer(examples({"ferry outbox skip app.db 17", "ferry outbox skip app.db --parked"}));

    auto purge_options = std::make_shared<Options>();
    command = add_command(parent, context, "purge",
                          "Delete sent messages that are kept; never events, never unsent ones",
                          purge_options, purge);
    add_duration(*command, "--older-than", purge_options->older_than, "Sent longer ago than this")
        ->required();
    command->footer(examples({"ferry outbox purge app.db --older-than 24h"}));

    auto verify_options = std::make_shared<Options>();
    command = add_command(parent, context, "verify",
                          "Check tables, counters and rows; exit status 1 if something is damaged",
                          verify_options, verify);
    command->add_flag("--repair", verify_options->repair,
                      "Set a sequence of ids that was put back to where it must go on");
    command->footer(
        examples({"ferry outbox verify app.db", "ferry outbox verify app.db --repair"}));
}

}  // namespace

void add_outbox(Command& app, Context& context) {
    Command* parent = app.add_subcommand(
        "outbox", "Make and look after the outbox in an application's SQLite database");
    parent->require_subcommand(1);
    parent->footer(examples({"ferry outbox init app.db", "ferry outbox status app.db",
                             "ferry outbox list app.db --parked", "ferry outbox retry app.db 17"}));
    auto options = std::make_shared<Options>();
    Command* command =
        add_command(*parent, context, "init",
                    "Make the tables, or bring older ones up to date; makes the file if need be",
                    options, init);
    add_size(*command, "--max-payload", options->max_payload,
             "Refuse larger payloads; only when the tables are made");
    command->footer(
        examples({"ferry outbox init app.db", "ferry outbox init app.db --max-payload 64KiB"}));
    add_readers(*parent, context);
    add_changers(*parent, context);
}

}  // namespace ferry::cli
