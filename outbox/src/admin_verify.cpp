#include <string>

#include "ferry/outbox/admin.hpp"
#include "ferry/outbox/schema.hpp"
#include "ferry/outbox/state.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Status;
using Severity = Finding::Severity;

constexpr std::size_t findings_max = 100;

/// Gathers findings; the first failure to read ends it.
class Inspector {
public:
    Inspector(const Database& database, bool repair) : database_(database), repair_(repair) {}

    Answer<std::vector<Finding>> run() {
        const Status fit = check_schema(database_);
        if (!fit.ok()) {
            blame(fit.error());
            return result();
        }
        inspect_mode();
        inspect_state();
        inspect_tables();
        inspect_sequence();
        inspect_rows();
        inspect_streams();
        inspect_pages();
        return result();
    }

private:
    Answer<std::vector<Finding>> result() {
        if (problem_) return *problem_;
        return std::move(findings_);
    }
    void find(Severity severity, std::string text) {
        if (findings_.size() < findings_max) findings_.push_back({severity, std::move(text)});
    }
    std::int64_t number(std::string_view sql) {
        const auto answer = database_.integer(sql);
        if (answer.ok()) return answer.value().value_or(0);
        if (!problem_) problem_ = answer.error();
        return 0;
    }
    std::string text(std::string_view sql) {
        const auto answer = database_.text(sql);
        if (answer.ok()) return answer.value().value_or("");
        if (!problem_) problem_ = answer.error();
        return {};
    }
    std::int64_t state_number(std::string_view name) {
        const auto answer = State(database_).number(name);
        if (answer.ok()) return answer.value().value_or(0);
        blame(answer.error());
        return 0;
    }
    /// What the tables hold is a finding; that they could not be read is none.
    void blame(const sqlite::Problem& problem) {
        if (problem.kind == sqlite::Kind::schema || problem.kind == sqlite::Kind::corrupt) {
            find(Severity::damage, problem.text);
        } else if (!problem_) {
            problem_ = problem;
        }
    }

    void inspect_mode() {
        if (const std::string mode = text("PRAGMA main.journal_mode"); mode != "wal") {
            find(Severity::damage, "the database is in journal mode " + mode +
                                       ", not wal: run PRAGMA journal_mode=WAL");
        }
    }

    void inspect_state() {
        if (const auto who = identity(database_); !who.ok()) blame(who.error());
        const auto policy = State(database_).text(state::policy);
        if (!policy.ok()) {
            blame(policy.error());
        } else if (policy.value() != "block" && policy.value() != "skip") {
            find(Severity::damage, "ferry_outbox_state: policy is neither block nor skip");
        }
        const std::int64_t most = state_number(state::payload_bytes_max);
        if (most < 1 || most > limits::payload_bytes_cap) {
            find(Severity::damage, "ferry_outbox_state: payload_bytes_max is out of range");
        }
        for (const std::string_view name : {state::last_sent, state::sent_total}) {
            if (state_number(name) < 0) {
                find(Severity::damage, "ferry_outbox_state: " + std::string(name) + " is negative");
            }
        }
    }

    void inspect_tables() {
        const std::string outbox =
            text("SELECT sql FROM main.sqlite_master WHERE name = 'ferry_outbox'");
        if (outbox.find("AUTOINCREMENT") == std::string::npos) {
            find(Severity::damage,
                 "ferry_outbox was made again without AUTOINCREMENT: ids of deleted messages are "
                 "used again, and the broker would take new messages for repeated ones; copy its "
                 "rows aside, drop it, and run ferry outbox init in a new file");
        }
        const std::int64_t most = state_number(state::payload_bytes_max);
        if (most < 1 || most > limits::payload_bytes_cap) return;
        const std::string all = schema_sql(static_cast<std::uint32_t>(most));
        for (const char* name :
             {"ferry_outbox", "ferry_outbox_sent", "ferry_outbox_parked", "ferry_outbox_state",
              "ferry_outbox_stream", "ferry_outbox_sent_stream", "ferry_outbox_event"}) {
            const std::string found =
                text("SELECT sql FROM main.sqlite_master WHERE name = '" + std::string(name) + "'");
            if (found.empty()) {
                find(Severity::damage, std::string(name) + " is missing");
            } else if (all.find(found + ";\n") == std::string::npos) {
                find(Severity::warning, std::string(name) +
                                            " is not as ferry outbox init made it: somebody has "
                                            "altered it");
            }
        }
    }

    void inspect_sequence() {
        if (number("SELECT count(*) FROM main.sqlite_master WHERE name = 'sqlite_sequence'") == 0) {
            return;  // reported: the table has no AUTOINCREMENT
        }
        const std::int64_t next = number(
            "SELECT coalesce(max(seq), 0) FROM main.sqlite_sequence "
            "WHERE name = 'ferry_outbox'");
        const std::int64_t used =
            std::max({number("SELECT coalesce(max(id), 0) FROM main.ferry_outbox"),
                      number("SELECT coalesce(max(id), 0) FROM main.ferry_outbox_sent"),
                      state_number(state::last_sent)});
        if (next >= used) return;
        if (repair_ && raise_sequence(used)) {
            find(Severity::note, "the sequence of ids was set from " + std::to_string(next) +
                                     " to " + std::to_string(used));
            return;
        }
        find(Severity::damage,
             "the sequence of ids was put back to " + std::to_string(next) + ", but ids up to " +
                 std::to_string(used) +
                 " were used: new messages would get ids that the broker has seen; run ferry "
                 "outbox verify --repair");
    }

    bool raise_sequence(std::int64_t used) {
        const std::string value = std::to_string(used);
        const Status done = in_transaction(
            "DELETE FROM main.sqlite_sequence WHERE name = 'ferry_outbox'; "
            "INSERT INTO main.sqlite_sequence(name, seq) SELECT 'ferry_outbox', max(" +
            value + ", coalesce((SELECT max(id) FROM main.ferry_outbox), 0))");
        if (!done.ok() && !problem_) problem_ = done.error();
        return done.ok();
    }
    Status in_transaction(std::string_view sql) {
        auto transaction = sqlite::Transaction::begin(database_);
        if (!transaction.ok()) return transaction.error();
        if (const Status done = database_.run(sql); !done.ok()) return done;
        return transaction.value().commit();
    }

    void inspect_rows() {
        const auto count = [this](const char* sql, Severity severity, const char* what) {
            const std::int64_t rows = number(sql);
            if (rows > 0) find(severity, std::to_string(rows) + what);
        };
        count("SELECT count(*) FROM main.ferry_outbox WHERE id < 1", Severity::damage,
              " messages have an id below 1: somebody gave one; they cannot be sent");
        count(
            "SELECT count(*) FROM main.ferry_outbox o JOIN main.ferry_outbox_sent s ON s.id = "
            "o.id",
            Severity::damage, " messages are both sent and waiting: an id was used twice");
        count(
            "SELECT count(*) FROM main.ferry_outbox_parked WHERE id NOT IN (SELECT id FROM "
            "main.ferry_outbox)",
            Severity::note, " refusals are noted whose messages are gone");
        // Behind a refused message of its key one may lawfully wait below the mark.
        if (number("SELECT count(*) FROM main.ferry_outbox_parked") == 0) {
            const std::int64_t last_sent = state_number(state::last_sent);
            const std::int64_t rows = number("SELECT count(*) FROM main.ferry_outbox WHERE id <= " +
                                             std::to_string(last_sent));
            if (rows > 0) {
                find(Severity::warning,
                     std::to_string(rows) +
                         " messages wait with ids at or below the last one that was sent (" +
                         std::to_string(last_sent) +
                         "): either a relay is just at work, or the database was restored, or ids "
                         "were used again; a relay finds out and takes a new epoch");
            }
        }
    }

    void inspect_streams() {
        const std::int64_t streams = number(
            "SELECT count(*) FROM (SELECT stream FROM (SELECT stream, version FROM "
            "main.ferry_outbox WHERE stream IS NOT NULL UNION ALL SELECT stream, version FROM "
            "main.ferry_outbox_sent WHERE stream IS NOT NULL) GROUP BY stream HAVING min(version) "
            "<> 1 OR max(version) <> count(*) OR count(DISTINCT version) <> count(*))");
        if (streams > 0) {
            find(Severity::damage,
                 std::to_string(streams) + " event streams have missing or repeated versions");
        }
    }

    // Also finds rows that break a CHECK or NOT NULL.
    void inspect_pages() {
        for (const char* name :
             {"ferry_outbox", "ferry_outbox_sent", "ferry_outbox_parked", "ferry_outbox_state"}) {
            auto statement =
                database_.prepare("PRAGMA main.integrity_check(" + std::string(name) + ")");
            if (!statement.ok()) {
                if (!problem_) problem_ = statement.error();
                return;
            }
            while (true) {
                const auto row = statement.value().step();
                if (!row.ok()) {
                    blame(row.error());
                    break;
                }
                if (!row.value()) break;
                const std::string said = sqlite::bounded(statement.value().text(0));
                if (said != "ok") find(Severity::damage, std::string(name) + ": " + said);
            }
        }
    }

    const Database& database_;
    bool repair_;
    std::vector<Finding> findings_;
    std::optional<sqlite::Problem> problem_;
};

}  // namespace

const char* name_of(Finding::Severity severity) {
    switch (severity) {
        case Severity::note:
            return "note";
        case Severity::warning:
            return "warning";
        case Severity::damage:
            break;
    }
    return "damage";
}

Answer<std::vector<Finding>> verify(const Database& database, bool repair) {
    return Inspector(database, repair).run();
}

}  // namespace ferry::outbox
