#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <system_error>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "log_reader/bodies.hpp"
#include "log_reader/catalog.hpp"
#include "log_reader/walker.hpp"
#include "output.hpp"

namespace ferry::cli {
namespace {

using log_reader::Catalog;
using log_reader::Finding;
using log_reader::FoundRecord;
using log_reader::Report;
using log_reader::Severity;
using log_reader::Walker;

struct Options {
    std::string directory;
    std::uint64_t from = 0;
    std::uint64_t limit = 0;
    bool bodies = false;
};

const char* severity_name(Severity severity) {
    switch (severity) {
        case Severity::note:
            return "note";
        case Severity::torn:
            return "torn tail";
        case Severity::damage:
            return "damage";
    }
    return "?";
}

std::string finding_text(const Finding& finding) {
    std::string text = std::string(severity_name(finding.severity)) + ": " + finding.file +
                       " at byte " + std::to_string(finding.offset) + ", position " +
                       std::to_string(finding.position);
    if (finding.position_end > finding.position) {
        text += " to " + std::to_string(finding.position_end);
    }
    return text + ": " + finding.text;
}

Json report_json(const Report& report) {
    Json out{{"directory", report.directory},
             {"ok", !report.damaged()},
             {"log_id", hex16(report.log_id)},
             {"segments", report.segments},
             {"compacted", report.compacted},
             {"superseded", report.superseded},
             {"spares", report.spares},
             {"checkpoints", report.checkpoints},
             {"batches", report.batches},
             {"seals", report.seals},
             {"records", report.records},
             {"record_bytes", report.record_bytes},
             {"begin", report.begin},
             {"end", report.end},
             {"durable_upto", report.durable_upto},
             {"torn_bytes", report.torn_bytes}};
    Json& findings = out["findings"] = Json::array();
    for (const Finding& finding : report.findings) {
        findings.push_back({{"severity", severity_name(finding.severity)},
                            {"file", finding.file},
                            {"offset", finding.offset},
                            {"position", finding.position},
                            {"position_end", finding.position_end},
                            {"text", finding.text}});
    }
    return out;
}

void print_findings(const Report& report) {
    for (const Finding& finding : report.findings) {
        std::fprintf(stderr, "%s\n", finding_text(finding).c_str());
    }
}

std::string unreadable_text(const Report& report) {
    return report.directory + ": " + report.findings.front().text;
}

// An empty or foreign directory is not a sound log; say so instead of counting nothing.
bool holds_a_log(const Catalog& catalog, const Report& report) {
    return !catalog.segments.empty() || !catalog.checkpoints.empty() || report.damaged();
}

std::set<std::string> names_in(const std::string& directory) {
    std::set<std::string> names;
    std::error_code problem;
    for (std::filesystem::directory_iterator each(directory, problem), end; !problem && each != end;
         each.increment(problem)) {
        names.insert(each->path().filename().string());
    }
    return names;
}

// A running broker may drop a segment between the moment when the directory was listed and the
// moment when the file is opened, which looks like a missing segment. Damage counts only if the
// directory held still meanwhile.
void read_all(const std::string& directory, Catalog& catalog, Report& report) {
    constexpr int attempts = 5;
    for (int i = 0; i < attempts; ++i) {
        catalog = {};
        report = {};
        const std::set<std::string> before = names_in(directory);
        if (read_catalog(directory, catalog, report)) Walker(catalog, report).walk(0, {});
        if (!report.damaged() || before == names_in(directory)) return;
    }
}

int verify(const Context& context, const Options& options) {
    Report report;
    Catalog catalog;
    read_all(options.directory, catalog, report);
    if (report.unreadable) return fail(exit_refused, unreadable_text(report));
    if (!holds_a_log(catalog, report)) {
        return fail(exit_refused, options.directory + " holds no log");
    }
    if (context.json) {
        print_json(report_json(report));
        return report.damaged() ? exit_refused : exit_done;
    }
    print_findings(report);
    std::printf(
        "log %s: %s records, %s, in %s batches (%s seals) of %s segments (%s compacted), %s "
        "checkpoints\n",
        hex16(report.log_id).c_str(), with_commas(report.records).c_str(),
        human_bytes(report.record_bytes).c_str(), with_commas(report.batches).c_str(),
        with_commas(report.seals).c_str(), with_commas(report.segments).c_str(),
        with_commas(report.compacted).c_str(), with_commas(report.checkpoints).c_str());
    std::printf("positions %llu to %llu, proven durable up to %llu, torn off %llu bytes\n",
                static_cast<unsigned long long>(report.begin),
                static_cast<unsigned long long>(report.end),
                static_cast<unsigned long long>(report.durable_upto),
                static_cast<unsigned long long>(report.torn_bytes));
    std::printf("%s\n", report.damaged() ? "DAMAGED: confirmed data cannot be read" : "sound");
    return report.damaged() ? exit_refused : exit_done;
}

bool print_record(const FoundRecord& record, bool bodies, bool json) {
    const Json body = log_reader::body_json(record.position, record.body, bodies);
    if (json) {
        Json line{{"position", record.position},
                  {"file", *record.file},
                  {"epoch", record.epoch},
                  {"wall_ms", record.wall_ms},
                  {"length", record.body.size()}};
        line.update(body);
        print_json(line);
    } else {
        const std::string text = body.dump(-1, ' ', false, Json::error_handler_t::replace);
        std::printf("%020llu %8zu %s\n", static_cast<unsigned long long>(record.position),
                    record.body.size(), text.c_str());
    }
    return std::ferror(stdout) == 0;
}

int dump(const Context& context, const Options& options) {
    Report report;
    Catalog catalog;
    std::uint64_t printed = 0;
    if (read_catalog(options.directory, catalog, report)) {
        Walker(catalog, report).walk(options.from, [&](const FoundRecord& record) {
            if (!print_record(record, options.bodies, context.json)) return false;
            return ++printed != options.limit;
        });
    }
    if (report.unreadable) return fail(exit_refused, unreadable_text(report));
    if (!holds_a_log(catalog, report)) {
        return fail(exit_refused, options.directory + " holds no log");
    }
    print_findings(report);
    return report.damaged() ? exit_refused : exit_done;
}

}  // namespace

void add_log(Command& app, Context& context) {
    Command* log = app.add_subcommand("log", "Read a data directory by itself, without the broker");
    log->require_subcommand(1);
    log->footer(examples({"ferry log verify ./data", "ferry log dump ./data --limit 20 --bodies"}));

    auto options = std::make_shared<Options>();
    Command* check = log->add_subcommand(
        "verify",
        "Check every byte; exit status 1 and the exact place if confirmed data is damaged");
    check->add_option("directory", options->directory, "Data directory or backup")->required();
    check->footer(examples({"ferry log verify ./data", "ferry log verify /backup/monday --json"}));
    check->callback([&context, options] {
        context.run = [&context, options] { return verify(context, *options); };
    });

    Command* print = log->add_subcommand("dump", "Print one line per record");
    print->add_option("directory", options->directory, "Data directory or backup")->required();
    print->add_option("--from", options->from, "First position to print");
    print->add_option("--limit", options->limit, "At most so many records");
    print->add_flag("--bodies", options->bodies, "Print what the records hold, payloads too");
    print->footer(
        examples({"ferry log dump ./data", "ferry log dump ./data --from 1048576 --limit 10",
                  "ferry log dump ./data --bodies --json"}));
    print->callback([&context, options] {
        context.run = [&context, options] { return dump(context, *options); };
    });
}

}  // namespace ferry::cli
