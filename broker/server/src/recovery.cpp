#include "recovery.hpp"

#include <cstring>

namespace ferry::server {

std::string describe(const Error& error) {
    std::string text(error.what);
    if (error.position != 0) text += " at position " + std::to_string(error.position);
    if (error.os_errno != 0) text += std::string(": ") + std::strerror(error.os_errno);
    return text;
}

std::unique_ptr<log::CommitLog> open_log(FileSystem& files, const BrokerConfig& config,
                                         std::string* error_text) {
    std::string text;
    auto log = log::CommitLog::open(files, system_random(), system_clock(), config.data_dir,
                                    config.log, &text);
    if (log.ok()) return std::move(log).value();
    const Error& error = log.error();
    *error_text = text.empty() ? config.data_dir + ": " + describe(error) : text;
    if (error.os_errno != 0 && text.find(std::strerror(error.os_errno)) == std::string::npos) {
        *error_text += std::string(": ") + std::strerror(error.os_errno);
    }
    return nullptr;
}

bool recover(log::CommitLog& log, engine::Engine& engine, Now now, RecoverySummary& summary,
             std::string* error_text) {
    const log::Recovered& found = log.recovered();
    if (!found.checkpoint.empty()) {
        if (const Status loaded = engine.load(found.checkpoint); !loaded.ok()) {
            *error_text = "the checkpoint at position " + std::to_string(found.checkpoint_at) +
                          " cannot be used: " + describe(loaded.error());
            return false;
        }
    }
    std::uint64_t records = 0;
    const Status replayed = log.replay([&](const log::Place& place, Bytes body) {
        ++records;
        Status status = engine.replay(engine::Journal::Place{place.position, place.segment}, body);
        if (status.ok()) return status;
        Error error = status.error();
        if (error.position == 0) error.position = place.position;
        return Status(error);
    });
    if (!replayed.ok()) {
        *error_text = "the log cannot be replayed: " + describe(replayed.error());
        return false;
    }
    engine.recovered(!found.clean, now);
    const engine::Totals totals = engine.totals();
    summary.created = found.created;
    summary.clean = found.clean;
    summary.queues = totals.queues;
    summary.messages = totals.ready + totals.unacked;
    summary.records = records;
    summary.torn_bytes = found.torn_bytes;
    return true;
}

}  // namespace ferry::server
