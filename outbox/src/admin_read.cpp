#include <algorithm>
#include <string>

#include "ferry/outbox/admin.hpp"
#include "ferry/outbox/schema.hpp"
#include "ferry/outbox/state.hpp"

namespace ferry::outbox {
namespace {

using sqlite::Answer;
using sqlite::Database;
using sqlite::Kind;
using sqlite::Problem;
using sqlite::Statement;
using sqlite::Status;

std::uint64_t positive(const std::optional<std::int64_t>& number) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(number.value_or(0), 0));
}

/// Collects numbers and keeps the first failure.
class Reader {
public:
    explicit Reader(const Database& database) : database_(database), state_(database) {}

    std::optional<std::int64_t> sql(std::string_view text) { return keep(database_.integer(text)); }
    std::optional<std::int64_t> number(std::string_view name) { return keep(state_.number(name)); }
    std::string text(std::string_view name) {
        auto answer = state_.text(name);
        if (answer.ok()) return answer.value().value_or("");
        note(answer.error());
        return {};
    }
    [[nodiscard]] const std::optional<Problem>& problem() const { return problem_; }

private:
    std::optional<std::int64_t> keep(const Answer<std::optional<std::int64_t>>& answer) {
        if (answer.ok()) return answer.value();
        note(answer.error());
        return {};
    }
    void note(const Problem& problem) {
        if (!problem_) problem_ = problem;
    }

    const Database& database_;
    State state_;
    std::optional<Problem> problem_;
};

void count_pending(Reader& reader, bool exact, Figures& out) {
    const auto first = reader.sql("SELECT min(id) FROM main.ferry_outbox");
    const auto last = reader.sql("SELECT max(id) FROM main.ferry_outbox");
    if (!first || !last) return;
    const std::uint64_t range = positive(*last) - positive(*first) + 1;
    out.pending_exact = exact || range <= count_rows_max;
    out.pending =
        out.pending_exact ? positive(reader.sql("SELECT count(*) FROM main.ferry_outbox")) : range;
    const auto oldest = reader.sql("SELECT created_ms FROM main.ferry_outbox ORDER BY id LIMIT 1");
    if (oldest) out.oldest_ms = positive(oldest);
}

}  // namespace

Answer<Figures> figures(const Database& database, bool exact) {
    // One view for all of it, if the caller has none open.
    std::optional<sqlite::Transaction> view;
    if (!database.in_transaction()) {
        auto begun = sqlite::Transaction::begin(database, sqlite::Transaction::Mode::read);
        if (!begun.ok()) return begun.error();
        view.emplace(std::move(begun).value());
    }
    if (const Status schema = check_schema(database); !schema.ok()) return schema.error();
    Reader reader(database);
    Figures out;
    out.producer = reader.text(state::producer);
    out.epoch = positive(reader.number(state::epoch));
    out.schema_version = static_cast<int>(positive(reader.number(state::schema_version)));
    count_pending(reader, exact, out);
    out.retrying = positive(
        reader.sql("SELECT count(*) FROM main.ferry_outbox_parked WHERE next_ms IS NOT NULL "
                   "AND id IN (SELECT id FROM main.ferry_outbox)"));
    out.parked =
        positive(reader.sql("SELECT count(*) FROM main.ferry_outbox_parked WHERE next_ms IS NULL "
                            "AND id IN (SELECT id FROM main.ferry_outbox)"));
    out.last_id =
        positive(reader.sql("SELECT seq FROM main.sqlite_sequence WHERE name = 'ferry_outbox'"));
    out.last_sent = positive(reader.number(state::last_sent));
    out.sent_total = positive(reader.number(state::sent_total));
    if (const auto sent = reader.number(state::sent_ms)) out.sent_ms = positive(sent);
    out.skipped_total = positive(reader.number(state::skipped_total));
    out.policy = reader.text(state::policy);
    out.retain_ms = positive(reader.number(state::retain_ms));
    out.payload_bytes_max =
        static_cast<std::uint32_t>(positive(reader.number(state::payload_bytes_max)));
    out.lease_owner = reader.text(state::lease_owner);
    out.lease_until_ms = positive(reader.number(state::lease_until_ms));
    if (reader.problem()) return *reader.problem();
    return out;
}

const char* name_of(Standing standing) {
    switch (standing) {
        case Standing::pending:
            return "pending";
        case Standing::retrying:
            return "retrying";
        case Standing::parked:
            return "parked";
        case Standing::sent:
            return "sent";
        case Standing::skipped:
            break;
    }
    return "skipped";
}

namespace {

// Columns 0 to 14 make an Entry, the rest a Details.
constexpr const char* pending_columns =
    "o.id, 0, o.exchange, o.routing_key, length(CAST(o.payload AS BLOB)), o.ordering_key, "
    "o.created_ms, 0, o.stream, o.version, p.id, p.attempts, p.reason_code, p.reason, p.next_ms";
constexpr const char* sent_columns =
    "o.id, 1 + o.skipped, o.exchange, o.routing_key, length(CAST(o.payload AS BLOB)), "
    "o.ordering_key, o.created_ms, o.sent_ms, o.stream, o.version, NULL, NULL, NULL, NULL, NULL";
constexpr const char* more_columns =
    ", o.payload, o.content_type, o.headers, o.deliver_at_ms, o.expires_at_ms, o.priority, "
    "o.correlation_id, o.reply_to ";
constexpr const char* pending_from =
    " FROM main.ferry_outbox o LEFT JOIN main.ferry_outbox_parked p ON p.id = o.id ";
constexpr const char* sent_from = " FROM main.ferry_outbox_sent o ";

std::uint64_t natural(const Statement& row, int column) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(row.integer(column), 0));
}

Entry entry_of(const Statement& row) {
    Entry out;
    out.id = row.integer(0);
    out.exchange = row.text(2);
    out.routing_key = row.text(3);
    out.payload_bytes = natural(row, 4);
    out.ordering_key = row.text(5);
    out.created_ms = natural(row, 6);
    out.sent_ms = natural(row, 7);
    out.stream = row.text(8);
    out.version = natural(row, 9);
    out.attempts = static_cast<std::uint32_t>(natural(row, 11));
    out.reason_code = static_cast<int>(row.integer(12));
    out.reason = row.text(13);
    if (!row.is_null(14)) out.next_ms = natural(row, 14);
    if (row.integer(1) == 1) {
        out.standing = Standing::sent;
    } else if (row.integer(1) != 0) {
        out.standing = Standing::skipped;
    } else if (!row.is_null(10)) {
        out.standing = out.next_ms ? Standing::retrying : Standing::parked;
    }
    return out;
}

Details details_of(const Statement& row) {
    Details out;
    out.entry = entry_of(row);
    out.payload = as_text(row.bytes(15));
    out.content_type = row.text(16);
    out.headers_json = row.text(17);
    out.deliver_at_ms = natural(row, 18);
    out.expires_at_ms = natural(row, 19);
    out.priority = static_cast<std::uint32_t>(natural(row, 20));
    out.correlation_id = row.text(21);
    out.reply_to = row.text(22);
    return out;
}

std::string list_sql(const Filter& filter) {
    std::string sql = "SELECT ";
    switch (filter.which) {
        case Filter::Which::pending:
            sql += std::string(pending_columns) + pending_from + "WHERE o.id > ?1";
            break;
        // CROSS JOIN: begin with the few that were refused.
        case Filter::Which::refused:
        case Filter::Which::parked:
            sql += std::string(pending_columns) +
                   " FROM main.ferry_outbox_parked p CROSS JOIN main.ferry_outbox o "
                   "ON o.id = p.id WHERE p.id > ?1";
            if (filter.which == Filter::Which::parked) sql += " AND p.next_ms IS NULL";
            break;
        case Filter::Which::sent:
            sql += std::string(sent_columns) + sent_from + "WHERE o.id > ?1";
            break;
    }
    if (!filter.ordering_key.empty()) sql += " AND o.ordering_key = ?3";
    if (!filter.exchange.empty()) sql += " AND o.exchange = ?4";
    return sql + " ORDER BY o.id LIMIT ?2";
}

}  // namespace

Answer<std::vector<Entry>> list(const Database& database, const Filter& filter) {
    if (const Status schema = check_schema(database); !schema.ok()) return schema.error();
    if (filter.count < 1 || filter.count > limits::list_rows_max) {
        return Problem{Kind::refused, 0,
                       "a list has 1 to " + std::to_string(limits::list_rows_max) + " rows"};
    }
    auto statement = database.prepare(list_sql(filter));
    if (!statement.ok()) return statement.error();
    Statement& query = statement.value();
    query.bind(1, filter.after_id).bind(2, filter.count);
    if (!filter.ordering_key.empty()) query.bind(3, filter.ordering_key);
    if (!filter.exchange.empty()) query.bind(4, filter.exchange);
    std::vector<Entry> out;
    while (true) {
        const auto row = query.step();
        if (!row.ok()) return row.error();
        if (!row.value()) return out;
        out.push_back(entry_of(query));
    }
}

Answer<Details> show(const Database& database, std::int64_t id) {
    if (const Status schema = check_schema(database); !schema.ok()) return schema.error();
    const std::string from[] = {
        std::string("SELECT ") + pending_columns + more_columns + pending_from,
        std::string("SELECT ") + sent_columns + more_columns + sent_from};
    for (const std::string& sql : from) {
        auto statement = database.prepare(sql + "WHERE o.id = ?1");
        if (!statement.ok()) return statement.error();
        const auto row = statement.value().bind(1, id).step();
        if (!row.ok()) return row.error();
        if (row.value()) return details_of(statement.value());
    }
    return Problem{Kind::not_found, 0,
                   "there is no message " + std::to_string(id) +
                       " here: it was sent and not kept, or it never was"};
}

}  // namespace ferry::outbox
