#include <algorithm>
#include <map>

#include "ferry/history/history_file.hpp"
#include "findings.hpp"

namespace ferry::history {

std::string text_of(const Event& event) {
    std::string text = std::to_string(event.time_ns / 1'000'000) + " ms  process " +
                       std::to_string(event.process) + "  " + std::string(name_of(event.what)) +
                       " " + std::string(name_of(event.type));
    const auto put = [&](const char* name, std::uint64_t value) {
        if (value != 0) text += std::string("  ") + name + " " + std::to_string(value);
    };
    put("queue", event.queue);
    put("key", event.key);
    put("id", event.id);
    put("epoch", event.epoch);
    put("seq", event.seq);
    put("position", event.position);
    put("lease", event.lease);
    put("attempt", event.attempt);
    if (event.redelivered) text += "  redelivered";
    put("group", event.group);
    return text;
}

std::string text_of(const Report& report, const History& history) {
    const auto figure = [](std::uint64_t value, const char* name) {
        return std::to_string(value) + " " + name;
    };
    std::string text = figure(report.events, "events: ") + figure(report.messages, "messages, ") +
                       figure(report.committed, "committed, ") +
                       figure(report.confirmed, "confirmed, ") +
                       figure(report.deliveries, "deliveries, ") + figure(report.acked, "acks, ") +
                       figure(report.effects, "effects");
    if (report.sagas != 0) text += ", " + figure(report.sagas, "sagas");
    text += "\n";
    if (report.clean()) return text + "all is as it must be\n";
    for (const Finding& finding : report.findings) {
        text += "\n" + std::string(name_of(finding.what)) + ": " + std::to_string(finding.count) +
                " (" + std::string(meaning_of(finding.what)) + ")\n  " + finding.first + "\n";
        if (!finding.ids.empty() && finding.ids.front() != 0) {
            text += "  ids:";
            for (const std::uint64_t id : finding.ids) text += " " + std::to_string(id);
            text += finding.count > finding.ids.size() ? " …\n" : "\n";
        }
        for (const At at : finding.events) {
            text += "  " + std::to_string(at) + "  " + text_of(history[at]) + "\n";
        }
    }
    return text;
}

std::string losses_csv(const History& history, const Rules& rules) {
    struct Row {
        std::uint64_t confirmed = 0;
        std::uint64_t lost = 0;
    };
    const Ledger ledger(history, rules);
    std::map<std::pair<std::uint32_t, std::uint64_t>, Row> rows;
    for (const Message& message : ledger.messages()) {
        if (message.confirmed == never) continue;
        Row& row = rows[{message.producer, ledger.time(message.confirmed) / 1'000'000'000}];
        ++row.confirmed;
        if (lost(ledger, message)) ++row.lost;
    }
    std::string text = "producer,second,confirmed,lost\n";
    for (const auto& [where, row] : rows) {
        text += std::to_string(where.first) + "," + std::to_string(where.second) + "," +
                std::to_string(row.confirmed) + "," + std::to_string(row.lost) + "\n";
    }
    return text;
}

}  // namespace ferry::history
