#include "fake_source.hpp"

#include <chrono>
#include <thread>

#include "ferry/wire/cursor.hpp"
#include "ferry/wire/encoder.hpp"

namespace ferry::test {

using consumer::Duration;
using transport::DeliveryTag;
using transport::Received;

Received make_received(const Sent& sent, std::uint64_t position, std::uint64_t attempt,
                       DeliveryTag tag) {
    wire::Message message;
    message.routing_key = sent.routing_key;
    message.properties.correlation_id = sent.correlation_id;
    message.properties.reply_to = sent.reply_to;
    message.payload = sent.payload;
    message.properties.id = sent.id;
    message.properties.ordering_key = sent.key;
    message.properties.headers = sent.headers;
    message.properties.published_at_ms = sent.published_at_ms;
    auto bytes = std::make_shared<std::vector<std::byte>>();
    wire::Encoder encoder(*bytes);
    wire::write_message(encoder, message);
    Received received;
    wire::Cursor cursor(*bytes);
    if (!wire::read_message(cursor, received.delivery.message)) std::abort();
    received.bytes = std::move(bytes);
    received.delivery.position = position;
    received.delivery.attempt = attempt;
    received.delivery.token = position;
    received.delivery.tag = tag;
    return received;
}

consumer::Incoming make_incoming(const Sent& sent, std::uint64_t position, std::uint64_t attempt) {
    auto incoming = consumer::read_incoming(make_received(sent, position, attempt));
    if (!incoming.ok()) std::abort();
    return std::move(incoming).value();
}

std::string outbox_id(std::uint64_t sequence, std::uint64_t epoch, char producer) {
    std::string id(32, producer);
    id.append(":").append(std::to_string(epoch)).append(":").append(std::to_string(sequence));
    return id;
}

std::uint64_t FakeQueue::send(Sent sent) {
    const std::scoped_lock lock(mutex_);
    const std::uint64_t position = next_position_++;
    messages_[position] = Stored{std::move(sent), 0, 0};
    changed_.notify_all();
    return position;
}

void FakeQueue::break_connection() {
    const std::scoped_lock lock(mutex_);
    ++generation_;
    for (auto& [position, stored] : messages_) stored.tag = 0;
    changed_.notify_all();
}

void FakeQueue::end_lease(std::uint64_t position) {
    const std::scoped_lock lock(mutex_);
    auto& stored = messages_.at(position);
    lost_.push_back({1, stored.tag, generation_});
    stored.tag = 0;
    changed_.notify_all();
}

void FakeQueue::refuse_acks(bool refuse) {
    const std::scoped_lock lock(mutex_);
    refuse_acks_ = refuse;
}
void FakeQueue::refuse_dead_letters(bool refuse) {
    const std::scoped_lock lock(mutex_);
    refuse_dead_letters_ = refuse;
}
void FakeQueue::finish() {
    const std::scoped_lock lock(mutex_);
    finished_ = true;
    changed_.notify_all();
}
std::size_t FakeQueue::unsettled() const {
    const std::scoped_lock lock(mutex_);
    return messages_.size();
}
std::size_t FakeQueue::unacked() const {
    const std::scoped_lock lock(mutex_);
    std::size_t count = 0;
    for (const auto& [position, stored] : messages_) count += stored.tag != 0 ? 1 : 0;
    return count;
}
std::size_t FakeQueue::settles() const {
    const std::scoped_lock lock(mutex_);
    return settles_;
}

std::size_t FakeQueue::extended() const {
    const std::scoped_lock lock(mutex_);
    return extended_;
}
std::vector<std::pair<std::string, std::string>> FakeQueue::dead() const {
    const std::scoped_lock lock(mutex_);
    return dead_;
}
std::uint64_t FakeQueue::floor() const {
    const std::scoped_lock lock(mutex_);
    return messages_.empty() ? next_position_ : messages_.begin()->first;
}
consumer::Place FakeQueue::place_now() const {
    return {"queue", log_id, floor()};
}

/// Of one message.
class FakeLate final : public transport::LateParts {
public:
    FakeLate(FakeQueue& queue, Received whole) : queue_(queue), whole_(std::move(whole)) {}

    static transport::LateReceived hide(FakeQueue& queue, Received whole) {
        transport::LateReceived out;
        out.delivery = whole.delivery;
        wire::PropertyViews seen;
        static_cast<void>(wire::view_properties(whole.delivery.message.properties, seen));
        out.ordering_key = seen.ordering_key;
        out.delivery.published_ms = seen.published_at_ms;
        out.delivery.message = {};
        out.delivery.message.payload = whole.delivery.message.payload;
        const auto late = std::make_shared<FakeLate>(queue, std::move(whole));
        out.bytes = {late, late->whole_.bytes.get()};
        out.late = late.get();
        return out;
    }
    void read(std::size_t, wire::MessageView& view) override {
        ++queue_.late_reads;
        view = whole_.delivery.message;
    }

private:
    FakeQueue& queue_;
    const Received whole_;
};

class FakeSource final : public consumer::Source {
public:
    FakeSource(FakeQueue& queue, std::size_t prefetch, bool keeps)
        : queue_(queue), prefetch_(prefetch), keeps_(keeps) {}

    Result<Received> next(Duration timeout) override {
        std::unique_lock lock(queue_.mutex_);
        Received received;
        const bool found = queue_.changed_.wait_for(
            lock, timeout, [&] { return queue_.finished_ || closed_ || hand_out(received); });
        if (queue_.finished_ || closed_) return Error{Errc::not_found, 0, 0, "the queue is gone"};
        if (!found) return Error{Errc::would_block, 0, 0, "nothing"};
        return received;
    }

    Status next_late(Duration timeout, std::size_t at_most,
                     std::vector<consumer::Incoming>& out) override {
        if (!keeps_) return Source::next_late(timeout, at_most, out);
        std::vector<Received> received;
        const Status got = next_some(timeout, at_most, received);
        for (Received& one : received) out.emplace_back(FakeLate::hide(queue_, std::move(one)));
        return got;
    }

    Result<std::vector<DeliveryTag>> settle(std::span<const DeliveryTag> tags) override {
        const std::scoped_lock lock(queue_.mutex_);
        ++queue_.settles_;
        if (queue_.refuse_acks_) return Error{Errc::indeterminate, 0, 0, "no connection"};
        std::vector<DeliveryTag> lost;
        for (const DeliveryTag& tag : tags) {
            if (!remove(tag)) lost.push_back(tag);
        }
        queue_.changed_.notify_all();
        return lost;
    }

    void done(std::span<const DeliveryTag> tags) override {
        const std::scoped_lock lock(queue_.mutex_);
        for (auto& [position, stored] : queue_.messages_) {
            for (const DeliveryTag& tag : tags) stored.done = stored.done || stored.tag == tag.tag;
        }
    }
    Duration settle_pause() const override { return queue_.settle_pause; }

    Status give_back(const DeliveryTag& tag, Duration delay) override {
        const std::scoped_lock lock(queue_.mutex_);
        for (auto& [position, stored] : queue_.messages_) {
            if (stored.tag != tag.tag) continue;
            stored.tag = 0;
            stored.due = std::chrono::steady_clock::now() + delay;
        }
        queue_.changed_.notify_all();
        return ok_status();
    }

    Status extend(std::span<const DeliveryTag> tags, Duration) override {
        const std::scoped_lock lock(queue_.mutex_);
        queue_.extended_ += tags.size();
        return ok_status();
    }

    Status dead_letter(const consumer::Incoming& message, std::string_view reason) override {
        const std::scoped_lock lock(queue_.mutex_);
        if (queue_.refuse_dead_letters_) return Error{Errc::not_found, 0, 0, "no such queue"};
        queue_.dead_.emplace_back(std::string(message.payload()), std::string(reason));
        remove(message.delivery().tag);
        return ok_status();
    }

    Result<consumer::Place> place() override { return queue_.place_now(); }

    std::vector<DeliveryTag> lost() override {
        const std::scoped_lock lock(queue_.mutex_);
        return std::exchange(queue_.lost_, {});
    }

    bool connected() const override { return true; }
    bool keeps_what_it_gave() const override { return keeps_; }

    void close() override {
        const std::scoped_lock lock(queue_.mutex_);
        closed_ = true;
        for (auto& [position, stored] : queue_.messages_) stored.tag = 0;
        queue_.changed_.notify_all();
    }

private:
    bool hand_out(Received& out) {
        std::size_t unacked = 0;
        for (const auto& [position, stored] : queue_.messages_) {
            unacked += stored.tag != 0 && !stored.done ? 1 : 0;
        }
        if (unacked >= prefetch_) return false;
        for (auto& [position, stored] : queue_.messages_) {
            if (stored.tag != 0 || stored.due > std::chrono::steady_clock::now()) continue;
            stored.tag = queue_.next_tag_++;
            stored.done = false;
            ++stored.attempts;
            out = make_received(stored.sent, position, stored.attempts,
                                {1, stored.tag, queue_.generation_});
            return true;
        }
        return false;
    }

    bool remove(const DeliveryTag& tag) {
        if (tag.generation != queue_.generation_) return false;
        for (auto it = queue_.messages_.begin(); it != queue_.messages_.end(); ++it) {
            if (it->second.tag != tag.tag) continue;
            queue_.messages_.erase(it);
            return true;
        }
        return false;
    }

    FakeQueue& queue_;
    const std::size_t prefetch_;
    const bool keeps_;
    bool closed_ = false;
};

std::unique_ptr<consumer::Source> FakeQueue::source(std::size_t prefetch, bool keeps) {
    return std::make_unique<FakeSource>(*this, prefetch, keeps);
}

bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

}  // namespace ferry::test
