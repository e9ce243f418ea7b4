#include <string>
#include <vector>

#include "ferry/consumer/fence.hpp"
#include "ferry/consumer/inbox.hpp"
#include "inbox_impl.hpp"

namespace ferry::consumer {
namespace {

constexpr std::size_t statements_kept_max = 256;
constexpr std::string_view causation_header = "ferry-causation";

}  // namespace

sqlite::Statement* Effects::prepare(std::string_view sql) {
    auto& kept = access_.statements;
    if (const auto known = kept.find(sql); known != kept.end()) {
        known->second.reset();
        known->second.clear_bindings();
        return &known->second;
    }
    auto prepared = access_.database.prepare(sql, true);
    if (!prepared.ok()) {
        failed(prepared.error());
        return nullptr;
    }
    // Statements with values in their text would fill it: they are made again each time then.
    if (kept.size() >= statements_kept_max) kept.clear();
    return &kept.emplace(std::string(sql), std::move(prepared).value()).first->second;
}

bool Effects::run(sqlite::Statement& statement) {
    auto done = statement.run();
    if (!done.ok()) failed(done.error());
    return done.ok();
}

bool Effects::integer(sqlite::Statement& statement, std::int64_t& value) {
    auto row = statement.step();
    if (!row.ok()) failed(row.error());
    if (!row.ok() || !row.value()) return false;
    const bool there = !statement.is_null(0);
    if (there) value = statement.integer(0);
    statement.reset();
    return there;
}

bool Effects::undo() {
    return run(Marks::undo_sql);
}

std::int64_t Effects::changes() const {
    return access_.database.changes();
}

const sqlite::Database& Effects::database() const {
    return access_.database;
}

void Effects::failed(const sqlite::Problem& problem) {
    if (handled_.kind == Handled::Kind::done) handled_ = handled_of(problem);
}

bool Effects::publish(outbox::Message message) {
    if (access_.outbox == nullptr) {
        failed({sqlite::Kind::schema, 0,
                "there is no outbox in this database to publish from: run ferry outbox init"});
        return false;
    }
    const std::string& id = message_.id();
    const std::string& correlation = message_.properties().correlation_id;
    if (message.correlation_id.empty()) {
        message.correlation_id = correlation.empty() ? std::string_view(id) : correlation;
    }
    // Copied into what the messages before have left: most have as many headers, as long.
    auto& headers = access_.headers;
    std::size_t used = 0;
    const auto add = [&](std::string_view name, const wire::HeaderValue& value) {
        if (used == headers.size()) headers.emplace_back();
        headers[used].first = name;
        headers[used++].second = value;
    };
    for (const outbox::Header& one : message.headers) add(one.first, one.second);
    if (!id.empty()) add(causation_header, id);
    message.headers = std::span(headers).first(used);
    auto stored = access_.outbox->enqueue(message);
    if (!stored.ok()) failed(stored.error());
    return stored.ok();
}

bool Effects::fence(std::string_view resource, std::uint64_t token) {
    auto passed = consumer::fence(access_.database, resource, token);
    if (passed.ok()) return true;
    if (handled_.kind == Handled::Kind::done) {
        handled_ = passed.error().kind == sqlite::Kind::conflict
                       ? Handled::poison(passed.error().text)
                       : handled_of(passed.error());
    }
    return false;
}

}  // namespace ferry::consumer
