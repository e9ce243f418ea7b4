// What an outbox costs the application: transactions of one business row and one message, against
// the same with a second plain row. The ways take turns, so that other work on the machine hits all
// of them.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "ferry/outbox/outbox.hpp"

namespace {

using ferry::outbox::Outbox;
using ferry::sqlite::Database;
using ferry::sqlite::Statement;

constexpr int payload_bytes = 100;

[[noreturn]] void give_up(const std::string& text) {
    std::fprintf(stderr, "outbox_bench: %s\n", text.c_str());
    std::exit(1);
}

template <class T>
T need(ferry::sqlite::Answer<T> answer) {
    if (!answer.ok()) give_up(answer.error().text);
    return std::move(answer).value();
}

/// One way of storing the second row.
class Way {
public:
    Way(std::string name, const std::string& path)
        : name_(std::move(name)),
          database_(need(Database::open(path, Database::Access::create))),
          begin_(prepare("BEGIN IMMEDIATE", true)),
          commit_(prepare("COMMIT", true)) {
        need(database_.run(
            "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS orders(id INTEGER PRIMARY "
            "KEY, number INTEGER, text TEXT)"));
        order_ = prepare("INSERT INTO orders(number, text) VALUES (?1, ?2)", true);
    }
    virtual ~Way() = default;
    Way(const Way&) = delete;
    Way& operator=(const Way&) = delete;

    void round(int transactions) {
        const std::string text(50, 't');
        const auto began = std::chrono::steady_clock::now();
        for (int i = 0; i < transactions; ++i) {
            need(begin_.run());
            need(order_.bind(1, i).bind(2, text).run());
            store();
            need(commit_.run());
        }
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        rates_.push_back(transactions / took.count());
    }
    /// The CPU's part: rows per second in one transaction that is rolled back.
    double rows_per_second(int rows) {
        need(begin_.run());
        const auto began = std::chrono::steady_clock::now();
        for (int i = 0; i < rows; ++i) store();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        need(database_.run("ROLLBACK"));
        return rows / took.count();
    }
    [[nodiscard]] double median() const {
        std::vector<double> sorted = rates_;
        std::sort(sorted.begin(), sorted.end());
        return sorted[sorted.size() / 2];
    }
    [[nodiscard]] const std::vector<double>& rates() const { return rates_; }
    [[nodiscard]] const std::string& name() const { return name_; }

protected:
    virtual void store() = 0;
    Statement prepare(const char* sql, bool keep) { return need(database_.prepare(sql, keep)); }
    [[nodiscard]] const Database& database() const { return database_; }
    const std::string payload_ = std::string(payload_bytes, 'x');

private:
    std::string name_;
    Database database_;
    Statement begin_, commit_, order_;
    std::vector<double> rates_;
};

class RawRow final : public Way {
public:
    explicit RawRow(const std::string& path) : Way("raw second row", path) {
        need(database().run(
            "CREATE TABLE q(id INTEGER PRIMARY KEY AUTOINCREMENT, exchange TEXT, routing_key "
            "TEXT, payload BLOB)"));
        insert_ = prepare("INSERT INTO q(exchange, routing_key, payload) VALUES ('', 'orders', ?1)",
                          true);
    }

private:
    void store() override { need(insert_.bind(1, ferry::as_bytes(payload_)).run()); }
    Statement insert_;
};

class Enqueue final : public Way {
public:
    explicit Enqueue(const std::string& path) : Way("enqueue", path) {
        ferry::outbox::Options options;
        options.init = true;
        outbox_ = std::make_unique<Outbox>(need(Outbox::open(database().handle(), options)));
    }

private:
    void store() override {
        need(outbox_->enqueue({.routing_key = "orders", .payload = ferry::as_bytes(payload_)}));
    }
    std::unique_ptr<Outbox> outbox_;
};

class Extension final : public Way {
public:
    explicit Extension(const std::string& path) : Way("ferry_publish", path) {
        sqlite3_db_config(database().handle(), SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, nullptr);
        if (sqlite3_load_extension(database().handle(), FERRY_OUTBOX_EXTENSION, nullptr, nullptr) !=
            SQLITE_OK) {
            give_up("cannot load " FERRY_OUTBOX_EXTENSION);
        }
        need(database().run("SELECT ferry_outbox_init()"));
        publish_ = prepare("SELECT ferry_publish('', 'orders', ?1)", true);
    }

private:
    void store() override { need(publish_.bind(1, ferry::as_bytes(payload_)).run()); }
    Statement publish_;
};

class PlainInsert final : public Way {
public:
    explicit PlainInsert(const std::string& path) : Way("plain INSERT", path) {
        ferry::outbox::Options options;
        options.init = true;
        need(Outbox::open(database().handle(), options));
        insert_ =
            prepare("INSERT INTO ferry_outbox(routing_key, payload) VALUES ('orders', ?1)", true);
    }

private:
    void store() override { need(insert_.bind(1, ferry::as_bytes(payload_)).run()); }
    Statement insert_;
};

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 11;
    const int transactions = argc > 2 ? std::atoi(argv[2]) : 500;
    if (rounds < 1 || transactions < 1)
        give_up("usage: outbox_bench [rounds] [transactions per round]");
    std::string place = (std::filesystem::current_path() / "outbox-bench-XXXXXX").string();
    if (::mkdtemp(place.data()) == nullptr) give_up("cannot make a directory here");
    {
        RawRow raw(place + "/raw.db");
        Enqueue enqueue(place + "/enqueue.db");
        Extension extension(place + "/extension.db");
        PlainInsert plain(place + "/plain.db");
        Way* const ways[] = {&raw, &enqueue, &extension, &plain};
        for (int i = 0; i < rounds; ++i) {
            for (Way* way : ways) way->round(transactions);
        }
        std::printf("%-16s %10s %12s %12s\n", "", "tx/s", "of raw", "rows/s");
        for (Way* way : ways) {
            std::vector<double> ratios;
            for (std::size_t i = 0; i < way->rates().size(); ++i) {
                ratios.push_back(way->rates()[i] / raw.rates()[i]);
            }
            std::sort(ratios.begin(), ratios.end());
            std::printf("%-16s %10.0f %11.1f%% %12.0f\n", way->name().c_str(), way->median(),
                        100 * ratios[ratios.size() / 2], way->rows_per_second(50'000));
        }
    }
    std::filesystem::remove_all(place);
}
