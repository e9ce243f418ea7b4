#include "application.hpp"

#include <algorithm>

#include "fake_source.hpp"
#include "ferry/outbox/outbox.hpp"
#include "store.hpp"

namespace ferry::sweep {
namespace {

// Nobody else is there: whoever does not get a lock will not get it later either.
constexpr std::chrono::milliseconds busy_timeout{10};

sqlite::Answer<sqlite::Database> connect(const std::string& path) {
    return sqlite::Database::open(path, sqlite::Database::Access::create, busy_timeout);
}

sqlite::Database must_connect(const std::string& path) {
    auto opened = connect(path);
    FERRY_ASSERT(opened.ok(), "a database is there");
    return std::move(opened).value();
}

void must_run(const sqlite::Database& database, std::string_view sql) {
    FERRY_ASSERT(database.run(sql).ok(), "nothing fails yet");
}

consumer::Handled effect(consumer::Effects& effects) {
    effects.run("INSERT INTO effect(id) VALUES(?1)", effects.message().id());
    return consumer::Handled::done();
}

std::int64_t number(const sqlite::Database& database, const std::string& sql) {
    const auto out = database.integer(sql);
    return out.ok() ? out.value().value_or(-1) : -2;
}

}  // namespace

void Application::make() {
    const sqlite::Database app = must_connect(folder_ + "/app.db");
    must_run(app, "PRAGMA journal_mode=WAL");
    must_run(app, "CREATE TABLE orders(id INTEGER PRIMARY KEY)");
    outbox::Options options;
    options.init = true;
    FERRY_ASSERT(outbox::Outbox::open(app.handle(), options).ok(), "an outbox is made");
    FERRY_ASSERT(consumer::Inbox::init(folder_ + "/inbox.db").ok(), "an inbox is made");
    must_run(must_connect(folder_ + "/inbox.db"), "CREATE TABLE effect(id TEXT)");
}

std::unique_ptr<consumer::Inbox> Application::inbox() const {
    consumer::InboxOptions options;
    options.consumer = "c";
    options.busy_timeout = busy_timeout;
    auto opened = consumer::Inbox::open(folder_ + "/inbox.db", options);
    FERRY_ASSERT(opened.ok(), "nothing fails yet");
    return std::move(opened).value();
}

void Application::place_order(unsigned number) {
    const auto database = connect(folder_ + "/app.db");
    if (!database.ok()) return;
    const sqlite::Database& app = database.value();
    auto opened = outbox::Outbox::open(app.handle());
    if (!opened.ok() || !app.run("BEGIN IMMEDIATE").ok()) return;
    const std::string payload = std::to_string(number);
    const bool stored =
        app.run("INSERT INTO orders VALUES (" + payload + ")").ok() &&
        opened.value().enqueue({.routing_key = "orders", .payload = as_bytes(payload)}).ok();
    if (stored && app.run("COMMIT").ok()) tell_('o', number);
}

void Application::relay_once() {
    auto store = outbox::relay::Store::open(folder_ + "/app.db");
    if (!store.ok()) return;
    const auto seen = store.value().lease();
    if (!seen.ok() || !store.value().take_lease(seen.value(), "here", 1'000'000).ok()) return;
    std::uint64_t last = 0;
    const auto read = store.value().read(0, 2, 10, [&](const outbox::relay::RowView& row) {
        last = row.id;
        return true;
    });
    if (!read.ok() || last == 0) return;
    outbox::relay::IdRanges finished;
    finished.add({1, 1});
    outbox::relay::WriteWish wish;
    wish.finished = &finished;
    wish.rows_max = 10;
    wish.confirmed_upto = 1;
    tell_('s', 1);
    static_cast<void>(store.value().write(wish));
}

void Application::apply(consumer::Inbox& inbox, unsigned number) {
    const auto incoming = test::make_incoming({"x", test::outbox_id(number)}, number);
    if (inbox.apply(incoming, effect).kind == consumer::Handled::Kind::done) tell_('e', number);
}

bool Application::has_effects_of(const std::set<unsigned>& told) const {
    const sqlite::Database effects = must_connect(folder_ + "/inbox.db");
    return std::all_of(told.begin(), told.end(), [&](unsigned message) {
        return number(effects, "SELECT count(*) FROM effect WHERE id = '" +
                                   test::outbox_id(message) + "'") == 1;
    });
}

std::string Application::judge(const std::set<unsigned>& orders_told) const {
    const sqlite::Database app = must_connect(folder_ + "/app.db");
    std::string wrong;
    for (const unsigned order : orders_told) {
        if (number(app, "SELECT count(*) FROM orders WHERE id = " + std::to_string(order)) != 1)
            wrong += "LOST order " + std::to_string(order) + "; ";
    }
    const std::int64_t sent =
        number(app, "SELECT value FROM ferry_outbox_state WHERE name = 'sent_total'");
    if (number(app, "SELECT count(*) FROM orders") !=
        number(app, "SELECT count(*) FROM ferry_outbox") + sent)
        wrong += "an order without its message, or a message without its order; ";
    if (number(app, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'") !=
        0)
        wrong += "the application's database is broken; ";
    const sqlite::Database effects = must_connect(folder_ + "/inbox.db");
    if (number(effects, "SELECT count(*) FROM effect") != messages ||
        number(effects, "SELECT count(DISTINCT id) FROM effect") != messages)
        wrong += "not each message has one effect; ";
    return wrong;
}

}  // namespace ferry::sweep
