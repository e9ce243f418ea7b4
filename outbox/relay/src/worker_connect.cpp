#include <algorithm>

#include "ferry/transport/kafka/publisher.hpp"
#include "worker.hpp"

// From a lease to a producer that is open: here the database and the broker are compared.
//
//   broker's mark above what this database ever reserved   restored or copied: a new epoch
//   broker's mark below what it confirmed here             it forgot, or is another one: a new
//   epoch FENCED although the lease is ours                      a copy took our place: a new
//   identity
namespace ferry::outbox::relay {
namespace {

std::string random_producer(Random& random) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    while (text.size() < 32) text.push_back(digits[(random.next() >> 32) & 15]);
    return text;
}

constexpr std::uint32_t once_attempts_max = 3;

}  // namespace

void Worker::disconnect() {
    core_.lost();
    created_.clear();
    publisher_.reset();
    mailbox_.take(content_);
    content_.answers.clear();
    content_.lost = false;
    maybe_more_ = false;
}

void Worker::connect_failed(const std::string& why) {
    const Rules& rules = options_.rules;
    const std::uint64_t cap =
        std::min(rules.backoff_max_ms, rules.backoff_min_ms << std::min(connect_failures_, 20U));
    connect_at_ = now_ms() + cap - random_.next() % (cap / 2 + 1);
    ++connect_failures_;
    // Each time would fill the journal of a night; the first one and some of the later ones tell.
    if ((connect_failures_ & (connect_failures_ - 1)) == 0) {
        log(LogLevel::warning, why + "; attempt " + std::to_string(connect_failures_));
    }
    if (options_.once && connect_failures_ >= once_attempts_max) fail(why);
}

void Worker::connect(std::uint64_t now) {
    connect_at_ = now + options_.rules.backoff_min_ms;
    if (anew_.has_value()) {
        const auto [kind, reason] = *anew_;
        begin_anew(kind, reason);
        return;
    }
    const auto start = store_.start();
    if (!start.ok()) {
        if (start.error().kind == sqlite::Kind::schema) return fail(start.error().text);
        return trouble(start.error(), "the outbox could not be read");
    }
    if (!connect_with(start.value())) {
        disconnect();
        return;
    }
    connect_failures_ = 0;
    ++figures_.connects;
    maybe_new_ = true;
}

transport::Answer<std::unique_ptr<transport::SequencedPublisher>> Worker::make_publisher() {
    if (options_.publisher) return options_.publisher(mailbox_);
    transport::SequencedOptions sending;
    sending.url = options_.url;
    sending.security = options_.security;
    sending.window_messages = options_.rules.window_max;
    if (transport::kafka::is_kafka_url(options_.url)) {
        return transport::kafka::make_sequenced_publisher(std::move(sending), mailbox_);
    }
    return transport::make_sequenced_publisher(std::move(sending), mailbox_);
}

// Kafka knows nothing of producers: what this database confirmed is the mark, and every row that it
// still has below is open. Some of them were sent; the inbox tells those by their ids.
void Worker::recall(transport::ProducerState& state, const Start& start) const {
    state.mark = start.confirmed > base_ ? start.confirmed - base_ : 0;
    state.open.clear();
    if (start.first_pending > base_ && start.first_pending - base_ <= state.mark) {
        state.open.push_back({start.first_pending - base_, state.mark});
    }
}

bool Worker::connect_with(const Start& start) {
    producer_ = start.producer;
    epoch_ = start.epoch;
    base_ = start.base;
    reserved_ = start.reserved;
    if (start.last_id < start.confirmed) {
        begin_anew(Anew::numbers, "the ids of the outbox began anew: the last one is " +
                                      std::to_string(start.last_id) + ", but " +
                                      std::to_string(start.confirmed) + " was sent before");
        return false;
    }
    if (start.first_pending != 0 && start.first_pending <= start.base) {
        begin_anew(Anew::numbers, "row " + std::to_string(start.first_pending) +
                                      " was put in below the ids that are in use: somebody gave it "
                                      "its id");
        return false;
    }
    if (!publisher_) {
        auto made = make_publisher();
        if (!made.ok()) {
            connect_failed(made.error().text);
            return false;
        }
        publisher_ = std::move(made).value();
    }
    auto opened = publisher_->open(producer_, epoch_);
    mailbox_.take(content_);
    content_.answers.clear();
    content_.lost = false;
    if (!opened.ok()) {
        if (opened.error().wire_code == wire::Code::fenced) {
            fenced(opened.error().text);
        } else {
            connect_failed(opened.error().text);
        }
        return false;
    }
    transport::ProducerState& state = opened.value();
    if (!state.remembers) recall(state, start);
    const std::uint64_t mark = base_ + state.mark;
    if (mark > reserved_) {
        if (!settle_known(state, start)) return false;
        begin_anew(Anew::epoch, "the broker has messages up to " + std::to_string(mark) +
                                    ", but this database never sent more than up to " +
                                    std::to_string(reserved_) +
                                    ": it was restored from an older state, or copied");
        return false;
    }
    if (mark < start.confirmed) {
        begin_anew(Anew::epoch, "the broker knows this producer only up to " +
                                    std::to_string(mark) + ", but had confirmed " +
                                    std::to_string(start.confirmed) +
                                    ": it was restored from an older state, or is another broker");
        return false;
    }
    return load(state, start);
}

// Before a new epoch: what this database itself sent and the broker has need not be sent again.
bool Worker::settle_known(const transport::ProducerState& state, const Start& start) {
    std::vector<Range> open;
    for (const Range& range : state.open) {
        open.push_back({range.first + base_, range.last + base_});
    }
    if (start.first_pending == 0 || start.first_pending > reserved_) return true;
    // Rows above were not sent by this database: `reserved_` is the end, not the mark.
    std::erase_if(open, [&](const Range& range) { return range.first > reserved_; });
    for (Range& range : open) range.last = std::min(range.last, reserved_);
    core_.opened(reserved_, open, reserved_, start.first_pending);
    return write_all();
}

bool Worker::write_all() {
    while (!core_.finished().empty()) {
        if (stop_.load() == Stop::at_once || !write(0)) return false;
    }
    return true;
}

bool Worker::load(const transport::ProducerState& state, const Start& start) {
    const std::uint64_t now = now_ms();
    std::vector<Range> open;
    for (const Range& range : state.open) {
        open.push_back({range.first + base_, range.last + base_});
    }
    const std::uint64_t mark = base_ + state.mark;
    const std::uint64_t first = start.first_pending != 0 ? start.first_pending : mark + 1;
    core_.opened(mark, open, reserved_, first);
    const auto parked = store_.parked(wall_ms());
    if (!parked.ok()) {
        trouble(parked.error(), "the parked messages could not be read");
        return false;
    }
    for (const ParkedRow& row : parked.value()) core_.load_parked(row, now);
    for (const Range& range : open) {
        const auto rows = store_.keys(range);
        if (!rows.ok()) {
            trouble(rows.error(), "the open messages could not be read");
            return false;
        }
        for (const auto& [id, key] : rows.value()) core_.offer_open(id, key);
    }
    encoder_.set_origin(producer_, epoch_);
    log(LogLevel::info, "connected as producer " + producer_ + ", epoch " + std::to_string(epoch_) +
                            ", behind row " + std::to_string(mark));
    return true;
}

void Worker::begin_anew(Anew kind, const std::string& reason) {
    disconnect();
    // Kept until it is done: what was noticed here may not be noticed again.
    anew_.emplace(kind, reason);
    connect_at_ = now_ms() + options_.rules.backoff_min_ms;
    if (kind == Anew::numbers) {
        core_.forget_finished();  // those ids may be given out again
    } else if (!write_all()) {
        return;
    }
    const std::string name = kind == Anew::identity ? random_producer(random_) : std::string();
    const auto done = store_.begin_anew(name, reason, wall_ms());
    if (!done.ok()) {
        if (done.error().kind == sqlite::Kind::conflict) return lose_lease("another relay has it");
        return trouble(done.error(), "a new epoch could not be taken");
    }
    anew_.reset();
    connect_at_ = now_ms();
    if (kind == Anew::identity) {
        ++figures_.new_identities;
        log(LogLevel::error, "NEW PRODUCER " + name + ": " + reason);
    } else {
        ++figures_.new_epochs;
        log(LogLevel::error, "NEW EPOCH " + std::to_string(epoch_ + 1) + ": " + reason);
    }
}

void Worker::fenced(const std::string& text) {
    const auto lease = store_.lease();
    if (lease.ok() && lease.value().fence != store_.fence()) {
        return lose_lease("another relay has it");
    }
    const auto start = store_.start();
    if (!lease.ok() || !start.ok()) {
        connect_at_ = now_ms() + options_.rules.backoff_min_ms;
        return;
    }
    if (start.value().epoch != epoch_ || start.value().producer != producer_) return;
    begin_anew(Anew::identity,
               "the broker refuses epoch " + std::to_string(epoch_) + " (" + text +
                   "): a copy of this database, or a later state of it, took a newer one");
}

}  // namespace ferry::outbox::relay
