#include "deliveries.hpp"

#include <algorithm>
#include <array>

#include "../cold_reader.hpp"
#include "ferry/telemetry/metrics.hpp"
#include "frames.hpp"
#include "native_session.hpp"

namespace ferry::server::native {
namespace {

constexpr std::uint32_t reads_max = 2;              // per session
constexpr std::size_t look_ahead_max = 512;         // entries looked at for something to read
constexpr std::size_t flush_bytes = 64U << 10;      // let the kernel work while more is rendered
constexpr std::size_t some_message_bytes_max = 18;  // position and time of one
constexpr std::uint32_t deliver_head_bytes = 128;   // a deliver frame without its messages, at most

}  // namespace

namespace {

// Messages of many keys lie all over a few records: each is looked up once for a frame.
class NearRecords {
public:
    struct Record {
        engine::Position position = 0;
        Bytes body;  // empty: not in memory
        std::uint64_t published_ms = 0;
    };
    explicit NearRecords(Bodies& bodies) : bodies_(bodies) {}

    const Record& at(engine::Position position) {
        Record& record = records_[position * 0x9E3779B97F4A7C15ULL >> 59U];
        if (record.position != position || record.body.empty()) {
            record.position = position;
            record.body = bodies_.find(position);
            record.published_ms = engine::published_ms(record.body);
        }
        return record;
    }

private:
    Bodies& bodies_;
    std::array<Record, 32> records_;
};

std::uint64_t bytes_of(const engine::Deliver& deliver) {
    std::uint64_t bytes = deliver.extent.bytes;
    for (const engine::Extent& extent : deliver.more) bytes += extent.bytes;
    return bytes;
}
}  // namespace

void Deliveries::add(engine::Deliver&& deliver) {
    bytes_ += bytes_of(deliver);
    items_.push_back(std::move(deliver));
}
void Deliveries::add(const engine::Activated& activated) {
    items_.push_back(activated);
}
void Deliveries::add(engine::Reply&& reply) {
    items_.push_back(std::move(reply));
}
void Deliveries::add(engine::Cancelled&& cancelled) {
    items_.push_back(std::move(cancelled));
}
void Deliveries::add(engine::LockTold&& told) {
    items_.push_back(std::move(told));
}

void Deliveries::pump() {
    if (pumping_) return;
    pumping_ = true;
    std::optional<std::uint64_t> damaged;
    while (head_ < items_.size() && !damaged && has_room()) {
        const Sent result = send(items_[head_]);
        if (result == Sent::waits) {
            if (link_.choked()) continue;
            break;
        }
        if (const auto* deliver = std::get_if<engine::Deliver>(&items_[head_])) {
            bytes_ -= bytes_of(*deliver);
            if (result == Sent::damaged) damaged = deliver->subscription;
        }
        ++head_;
        if (link_.out().size() >= flush_bytes) link_.flush();
    }
    if (head_ == items_.size()) {
        items_.clear();
        head_ = 0;
        if (items_.capacity() > 64) items_.shrink_to_fit();
    } else if (head_ > 1024 && head_ * 2 > items_.size()) {
        items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(head_));
        head_ = 0;
    }
    pumping_ = false;
    if (!sent_.empty()) settle_sent();
    if (damaged) {
        on_damaged(*damaged, damage_);
        pump();
    }
}

// A connection that is full with what was said in this turn alone may well be empty after a flush,
// and then nobody would say that there is room again.
bool Deliveries::has_room() {
    if (link_.choked()) link_.flush();
    return !link_.choked();
}

Deliveries::Sent Deliveries::send(Item& item) {
    if (auto* deliver = std::get_if<engine::Deliver>(&item))
        return deliver->more.empty() ? send(*deliver) : send_some(*deliver);
    if (const auto* reply = std::get_if<engine::Reply>(&item)) {
        write_answer(link_.out(), *reply);
    } else if (const auto* activated = std::get_if<engine::Activated>(&item)) {
        write_activated(link_.out(), *activated);
    } else if (const auto* told = std::get_if<engine::LockTold>(&item)) {
        write_lock_told(link_.out(), *told);
    } else {
        write_cancelled(link_.out(), std::get<engine::Cancelled>(item));
    }
    link_.sent();
    return Sent::sent;
}

Deliveries::Sent Deliveries::send(engine::Deliver& deliver) {
    const engine::Position record = deliver.extent.record();
    const Bytes body = hub_.bodies.find_now(record);
    if (body.empty()) {
        if (reads_ == 0 || last_asked_ < record) fetch(record);
        look_ahead();
        return Sent::waits;
    }
    if (const Status rendered = render(deliver, body, 0, deliver.extent.count); !rendered.ok()) {
        damage_ = rendered.error();
        damage_.position = record;
        return Sent::damaged;
    }
    link_.sent();
    note_sent(deliver, deliver.extent.count);
    return Sent::sent;
}

// As much of it as can be had: the rest stays what it is, with the tags that follow.
Deliveries::Sent Deliveries::send_some(engine::Deliver& deliver) {
    some_.clear();
    some_copies_.clear();
    NearRecords records(hub_.bodies);
    std::size_t bytes = 0;
    std::size_t taken = 0;  // of the extents
    hub_.bodies.find_now(deliver.extent.record());
    const std::size_t extents = deliver.more.size() + 1;
    for (; taken < extents; ++taken) {
        const engine::Extent& extent = taken == 0 ? deliver.extent : deliver.more[taken - 1];
        const std::size_t room = bytes + extent.bytes +
                                 (some_.size() + extent.count) * some_message_bytes_max +
                                 deliver_head_bytes;
        if (!some_.empty() && room > hub_.config.frame_bytes_max) break;
        const NearRecords::Record& record = records.at(extent.record());
        if (record.body.empty()) break;
        const Result<Bytes> messages = engine::message_bytes(record.body, extent, 0, extent.count,
                                                             hub_.scratch, &hub_.offsets);
        if (!messages.ok()) {
            damage_ = messages.error();
            damage_.position = extent.record();
            return Sent::damaged;
        }
        bytes += messages.value().size();
        add_bytes(messages.value());
        for (std::uint32_t i = 0; i < extent.count; ++i)
            some_.positions.push_back(extent.first + i);
        some_.published_ms.resize(some_.size(), record.published_ms);
    }
    if (taken == 0) {
        const engine::Position record = deliver.extent.record();
        if (reads_ == 0 || last_asked_ < record) fetch(record);
        look_ahead();
        return Sent::waits;
    }
    write_deliver_some(link_.out(), deliver, some_);
    link_.sent();
    note_sent(deliver, some_.size());
    if (taken == extents) return Sent::sent;
    // What is left begins with the first one that did not go.
    const std::uint64_t bytes_before = bytes_of(deliver);
    deliver.first_tag += some_.size();
    deliver.extent = deliver.more[taken - 1];
    deliver.token = deliver.extent.first;
    deliver.more.erase(deliver.more.begin(),
                       deliver.more.begin() + static_cast<std::ptrdiff_t>(taken));
    deliver.more_messages = 0;
    for (const engine::Extent& extent : deliver.more) deliver.more_messages += extent.count;
    bytes_ -= bytes_before - bytes_of(deliver);
    if (link_.choked()) return Sent::waits;
    return deliver.more.empty() ? send(deliver) : send_some(deliver);
}

void Deliveries::add_bytes(Bytes bytes) {
    std::vector<Bytes>& pieces = some_.bytes;
    if (bytes.data() == hub_.scratch.data()) {  // which the next message may want
        pieces.push_back(some_copies_.emplace_back(bytes.begin(), bytes.end()));
    } else if (!pieces.empty() && pieces.back().data() + pieces.back().size() == bytes.data()) {
        pieces.back() = Bytes(pieces.back().data(), bytes.data() + bytes.size());
    } else {
        pieces.push_back(bytes);
    }
}

void Deliveries::note_sent(const engine::Deliver& deliver, std::uint64_t messages) {
    if (deliver.no_ack) {
        const engine::Tag last = deliver.first_tag + messages - 1;
        if (!sent_.empty() && sent_.back().first == deliver.subscription &&
            sent_.back().second.last + 1 == deliver.first_tag) {
            sent_.back().second.last = last;
        } else {
            sent_.emplace_back(deliver.subscription,
                               engine::Range<engine::Tag>{deliver.first_tag, last});
        }
    }
    if (deliver.attempt == 1) {
        const Instant arrived = hub_.figures.arrivals.of(deliver.extent.record());
        if (arrived.ns != 0) {
            const auto waited = static_cast<double>(hub_.now().mono.ns - arrived.ns);
            hub_.figures.metrics.observe_delivery_us(waited / 1000.0, messages);
        }
    }
}

// Messages of one record fill at most one frame, except when deliver's own fields take more room
// than publish's did: then it takes two.
Status Deliveries::render(const engine::Deliver& deliver, Bytes body, std::uint32_t skip,
                          std::uint32_t count) {
    const Result<Bytes> messages =
        engine::message_bytes(body, deliver.extent, skip, count, hub_.scratch, &hub_.offsets);
    if (!messages.ok()) return messages.error();
    if (messages.value().size() + deliver_head_bytes > hub_.config.frame_bytes_max && count > 1) {
        if (Status half = render(deliver, body, skip, count / 2); !half.ok()) return half;
        return render(deliver, body, skip + count / 2, count - count / 2);
    }
    write_deliver(link_.out(), deliver, skip, count, engine::published_ms(body), messages.value());
    return ok_status();
}

void Deliveries::settle_sent() {
    for (const auto& [subscription, tags] : sent_) {
        hub_.engine.ack(session_, 0, subscription, std::span(&tags, 1), hub_.now());
    }
    sent_.clear();
    hub_.touch();
}

// While the first block is being read, the next one that will be needed can be read too.
void Deliveries::look_ahead() {
    const std::size_t end = std::min(items_.size(), head_ + look_ahead_max);
    for (std::size_t i = head_ + 1; i < end && reads_ < reads_max; ++i) {
        const auto* deliver = std::get_if<engine::Deliver>(&items_[i]);
        if (deliver == nullptr) continue;
        const engine::Position record = deliver->extent.record();
        if (record < last_asked_ + ColdReader::block_bytes) continue;
        if (hub_.bodies.find(record).empty()) fetch(record);
    }
}

void Deliveries::fetch(engine::Position record) {
    ++reads_;
    last_asked_ = record;
    Hub& hub = hub_;
    const engine::SessionId session = session_;
    hub_.bodies.fetch(record, [&hub, session, record](const Error* error) {
        // The session may have ended meanwhile; only native sessions have Deliveries.
        if (auto* found = dynamic_cast<NativeSession*>(hub.session(session))) {
            found->deliveries().fetched(record, error);
            found->on_body();
        }
    });
}

void Deliveries::fetched(engine::Position record, const Error* error) {
    --reads_;
    if (reads_ == 0) last_asked_ = 0;
    if (error != nullptr) unreadable(record, *error);
}

template <class Predicate>
void Deliveries::remove(Predicate&& unwanted) {
    items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
    std::erase_if(items_, [&](const Item& item) {
        const auto* deliver = std::get_if<engine::Deliver>(&item);
        if (deliver == nullptr || !unwanted(*deliver)) return false;
        bytes_ -= bytes_of(*deliver);
        return true;
    });
}

// One item per run again, as if they had never gone together.
void Deliveries::take_apart() {
    std::vector<Item> apart;
    for (std::size_t i = head_; i < items_.size(); ++i) {
        auto* deliver = std::get_if<engine::Deliver>(&items_[i]);
        if (deliver == nullptr || deliver->more.empty()) {
            apart.push_back(std::move(items_[i]));
            continue;
        }
        const std::vector<engine::Extent> more = std::move(deliver->more);
        engine::Deliver one = *deliver;
        one.more.clear();
        one.more_messages = 0;
        apart.push_back(one);
        for (const engine::Extent& extent : more) {
            one.first_tag += one.extent.count;
            one.extent = extent;
            one.token = extent.first;
            apart.push_back(one);
        }
    }
    items_.swap(apart);
    head_ = 0;
}

// Not found: the lease ended long ago, somebody else settled the message and its segment is gone.
// Anything else is damage, which ends the subscriptions that were to get it.
void Deliveries::unreadable(engine::Position record, const Error& error) {
    take_apart();
    if (error.code == Errc::not_found) {
        remove([&](const engine::Deliver& deliver) { return deliver.extent.record() == record; });
        return;
    }
    std::vector<std::uint64_t> damaged;
    for (std::size_t i = head_; i < items_.size(); ++i) {
        const auto* deliver = std::get_if<engine::Deliver>(&items_[i]);
        if (deliver == nullptr || deliver->extent.record() != record) continue;
        damaged.push_back(deliver->subscription);
    }
    std::sort(damaged.begin(), damaged.end());
    damaged.erase(std::unique(damaged.begin(), damaged.end()), damaged.end());
    Error at_record = error;
    if (at_record.position == 0) at_record.position = record;
    for (const std::uint64_t subscription : damaged) on_damaged(subscription, at_record);
}

void Deliveries::forget(std::uint64_t subscription) {
    remove([&](const engine::Deliver& deliver) { return deliver.subscription == subscription; });
}

void Deliveries::for_each_record(const std::function<void(engine::Position)>& visit) const {
    for (std::size_t i = head_; i < items_.size(); ++i) {
        if (const auto* deliver = std::get_if<engine::Deliver>(&items_[i])) {
            visit(deliver->extent.record());
            for (const engine::Extent& extent : deliver->more) visit(extent.record());
        }
    }
}

}  // namespace ferry::server::native
