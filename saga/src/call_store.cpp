#include "call_store.hpp"

namespace ferry::saga {

sqlite::Status CallStore::prepare() {
    const std::pair<sqlite::Statement*, std::string_view> all[] = {
        {&add_,
         "INSERT INTO ferry_saga_call(saga, step, op, attempt, token, definition, retriable, "
         "trace, method, url, body, due_ms, fence, repeated) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, "
         "?8, ?9, ?10, ?11, ?12, ?13, ?14)"},
        {&of_,
         "SELECT key, saga, step, op, attempt, token, definition, retriable, trace, method, url, "
         "body, due_ms, repeated FROM ferry_saga_call WHERE fence = ?1 AND key > ?2 ORDER BY key "
         "LIMIT ?3"},
        {&take_, "DELETE FROM ferry_saga_call WHERE key = ?1 AND fence = ?2"},
        {&orphan_,
         "SELECT 1 FROM ferry_saga_call WHERE fence NOT IN (SELECT fence FROM ferry_saga_member) "
         "LIMIT 1"},
    };
    for (const auto& [statement, sql] : all) {
        auto prepared = database_.prepare(sql, true);
        if (!prepared.ok()) return prepared.error();
        *statement = std::move(prepared).value();
    }
    return sqlite::ok_status();
}

sqlite::Status CallStore::add(const HttpCall& call, std::uint64_t fence) {
    added_ = true;
    return add_.bind(1, std::string_view(call.saga))
        .bind(2, std::string_view(call.step))
        .bind(3, static_cast<int>(call.op))
        .bind(4, call.attempt)
        .bind(5, call.token)
        .bind(6, std::string_view(call.definition))
        .bind(7, static_cast<int>(call.retriable))
        .bind(8, std::string_view(call.trace))
        .bind(9, std::string_view(call.method))
        .bind(10, std::string_view(call.url))
        .bind(11, std::string_view(call.body))
        .bind(12, call.due_ms)
        .bind(13, fence)
        .bind(14, static_cast<int>(call.repeated))
        .run();
}

sqlite::Answer<std::vector<HttpCall>> CallStore::of(std::uint64_t fence, std::int64_t after,
                                                    std::size_t at_most) {
    of_.bind(1, fence).bind(2, after).bind(3, at_most);
    std::vector<HttpCall> out;
    for (;;) {
        auto row = of_.step();
        if (!row.ok()) return row.error();
        if (!row.value()) return out;
        HttpCall& call = out.emplace_back();
        call.key = of_.integer(0);
        call.saga = of_.text(1);
        call.step = of_.text(2);
        call.op = of_.integer(3) == static_cast<int>(Op::undo) ? Op::undo : Op::act;
        call.attempt = static_cast<std::uint32_t>(of_.integer(4));
        call.token = static_cast<std::uint64_t>(of_.integer(5));
        call.definition = of_.text(6);
        call.retriable = of_.integer(7) != 0;
        call.trace = of_.text(8);
        call.method = of_.text(9);
        call.url = of_.text(10);
        call.body = of_.text(11);
        call.due_ms = static_cast<std::uint64_t>(of_.integer(12));
        call.repeated = of_.integer(13) != 0;
    }
}

sqlite::Answer<bool> CallStore::take(std::int64_t key, std::uint64_t fence) {
    if (auto done = take_.bind(1, key).bind(2, fence).run(); !done.ok()) return done.error();
    return database_.changes() == 1;
}

sqlite::Answer<bool> CallStore::any_orphan() {
    auto row = orphan_.step();
    if (!row.ok()) return row.error();
    const bool yes = row.value();
    orphan_.reset();
    return yes;
}

sqlite::Status CallStore::adopt(std::uint64_t fence) {
    auto statement = database_.prepare(
        "UPDATE ferry_saga_call SET repeated = max(repeated, fence <> 0), fence = ?1 WHERE fence "
        "NOT IN (SELECT fence FROM ferry_saga_member)");
    if (!statement.ok()) return statement.error();
    return statement.value().bind(1, fence).run();
}

}  // namespace ferry::saga
