#include "chaos/producer.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace ferry::cli::chaos {
namespace {

using history::Type;
using history::What;

void replace(std::string& text, std::string_view what, std::string_view by) {
    for (std::size_t at = text.find(what); at != std::string::npos;
         at = text.find(what, at + by.size())) {
        text.replace(at, what.size(), by);
    }
}

}  // namespace

std::string filled_in(std::string_view text, std::uint64_t id, std::string_view key) {
    std::string out(text);
    replace(out, "{id}", std::to_string(id));
    replace(out, "{key}", key);
    return out;
}

ResultOr<std::unique_ptr<Producer>, std::string> Producer::open(const Plan& plan,
                                                                const std::string& database,
                                                                Recorder& recorder) {
    outbox::Options options;
    options.init = true;
    auto box = outbox::Outbox::open(database, options);
    if (!box.ok()) return box.error().text;
    const auto made = box.value().database().run("CREATE TABLE sent(id INTEGER PRIMARY KEY, key)");
    if (!made.ok()) return made.error().text;
    return std::unique_ptr<Producer>(
        new Producer(plan, database, std::move(box).value(), recorder));
}

Producer::Producer(const Plan& plan, std::string database, outbox::Outbox box, Recorder& recorder)
    : plan_(plan),
      database_(std::move(database)),
      box_(std::move(box)),
      recorder_(recorder),
      random_(plan.seed + 1) {}

Producer::~Producer() {
    stop();
}

void Producer::start() {
    thread_ = std::thread([this] { run(); });
}

void Producer::stop() {
    ending_ = true;
    if (thread_.joinable()) thread_.join();
}

void Producer::run() {
    using std::chrono::steady_clock;
    const auto step = std::chrono::nanoseconds(1'000'000'000 / plan_.rate);
    auto next = steady_clock::now();
    for (std::uint64_t id = 1; !ending_; ++id) {
        transact(id);
        next += step;
        // What a slow disk took is not caught up with: the rate is an upper limit.
        next = std::max(next, steady_clock::now() - std::chrono::milliseconds(100));
        std::this_thread::sleep_until(next);
    }
}

void Producer::transact(std::uint64_t id) {
    const std::uint64_t key = random_.below(plan_.keys) + 1;
    const bool roll_back = random_.below(10) == 0;
    recorder_.add(producer_process, What::commit, Type::invoke, id, key);
    const Type end = attempt(id, key, roll_back);
    recorder_.add(producer_process, What::commit, end, id, key);
    ++(end == Type::ok ? committed_ : rolled_back_);
}

Type Producer::attempt(std::uint64_t id, std::uint64_t key, bool roll_back) {
    const sqlite::Database& db = box_.database();
    auto transaction = sqlite::Transaction::begin(db);
    if (!transaction.ok()) return Type::fail;
    const std::string key_text = "k" + std::to_string(key);
    auto row = db.prepare("INSERT INTO sent(id, key) VALUES(?1, ?2)");
    if (!row.ok() || !row.value().bind(1, id).bind(2, std::string_view(key_text)).run().ok()) {
        return Type::fail;
    }
    const std::string payload = filled_in(plan_.payload, id, key_text);
    outbox::Message message;
    message.routing_key = plan_.queue;
    message.payload = as_bytes(payload);
    message.ordering_key = key_text;
    if (!box_.enqueue(message).ok() || roll_back) {
        transaction.value().rollback();
        return Type::fail;
    }
    // A commit that fails stores nothing (sqlite::Transaction), but for a disk that is broken.
    return transaction.value().commit().ok() ? Type::ok : Type::info;
}

std::optional<std::int64_t> Producer::left() const {
    auto db = sqlite::Database::open(database_, sqlite::Database::Access::read_only);
    if (!db.ok()) return std::nullopt;
    auto count = db.value().integer("SELECT count(*) FROM ferry_outbox");
    return count.ok() ? count.value() : std::nullopt;
}

}  // namespace ferry::cli::chaos
