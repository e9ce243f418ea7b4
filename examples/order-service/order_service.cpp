// Takes orders, and learns that they were paid.
//
//   order-service place DB ITEM CENTS [HOW_MANY]     needs no broker
//   order-service serve DB URL

#include <cstdlib>

#include "service.hpp"

namespace {

using namespace ferry;

constexpr const char* table =
    "CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY KEY, item TEXT NOT NULL, cents INTEGER "
    "NOT NULL, state TEXT NOT NULL DEFAULT 'placed', paid_times INTEGER NOT NULL DEFAULT 0)";

/// The order and the request for its payment: one transaction, so there is never one of them alone.
std::string place(outbox::Outbox& outbox, const std::string& item, std::int64_t cents) {
    const sqlite::Database& db = outbox.database();
    auto transaction = sqlite::Transaction::begin(db);
    if (!transaction.ok()) return transaction.error().text;
    auto insert = db.prepare("INSERT INTO orders(item, cents) VALUES(?1, ?2) RETURNING id");
    if (!insert.ok()) return insert.error().text;
    auto row = insert.value().bind(1, std::string_view(item)).bind(2, cents).step();
    if (!row.ok()) return row.error().text;
    const std::string id = std::to_string(insert.value().integer(0));
    insert.value().reset();
    const std::string payload = id + " " + std::to_string(cents);
    outbox::Message message;
    message.routing_key = "payments";
    message.payload = as_bytes(payload);
    message.ordering_key = id;
    message.reply_to = "order-events";
    if (auto stored = outbox.enqueue(message); !stored.ok()) return stored.error().text;
    auto committed = transaction.value().commit();
    return committed.ok() ? "" : committed.error().text;
}

/// "17": order 17 was paid. Counts, so that a second effect could be seen.
consumer::Handled paid(consumer::Effects& effects) {
    effects.run("UPDATE orders SET state = 'paid', paid_times = paid_times + 1 WHERE id = ?1",
                std::atoll(std::string(effects.message().payload()).c_str()));
    return consumer::Handled::done();
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() >= 4 && words[0] == "place") {
        if (auto why = example::prepare(words[1], table); !why.empty()) return example::fail(why);
        auto outbox = outbox::Outbox::open(words[1]);
        if (!outbox.ok()) return example::fail(outbox.error().text);
        const long long count = words.size() > 4 ? std::atoll(words[4].c_str()) : 1;
        for (long long i = 0; i < count; ++i) {
            const auto why = place(outbox.value(), words[2], std::atoll(words[3].c_str()));
            if (!why.empty()) return example::fail(why);
        }
        return 0;
    }
    if (words.size() == 3 && words[0] == "serve") {
        if (auto why = example::prepare(words[1], table); !why.empty()) return example::fail(why);
        return example::serve("order-service", words[1], words[2], "order-events", paid);
    }
    return example::fail("usage: order-service place DB ITEM CENTS [HOW_MANY] | serve DB URL");
}
