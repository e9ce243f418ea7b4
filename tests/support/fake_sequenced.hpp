#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "ferry/transport/sequenced.hpp"
#include "ferry/wire/message.hpp"

namespace ferry::test {

/// A broker in memory with as many connections as are asked for. It keeps to what docs/protocol.md
/// says of producers, hold and publishing in order. Answers come inside flush(), unless they are
/// held back.
///
/// Threads   any.
class MemoryBroker {
public:
    struct Stored {
        std::string producer;
        std::uint64_t epoch = 0;
        std::uint64_t sequence = 0;
        std::string routing_key;
        std::string payload;
        wire::Properties properties;
    };
    using Refuse = std::function<wire::Code(const Stored&)>;

    std::unique_ptr<transport::SequencedPublisher> connect(transport::SequencedEvents& events);

    void set_down(bool down) {
        const std::lock_guard lock(mutex_);
        down_ = down;
        ++cut_;
    }
    /// Every connection ends before its next action.
    void cut() {
        const std::lock_guard lock(mutex_);
        ++cut_;
    }
    /// What is stored from now on is not confirmed, and the connection ends: the answer got lost.
    void lose_next_answers(int frames) {
        const std::lock_guard lock(mutex_);
        lose_answers_ = frames;
    }
    void refuse(Refuse refuse) {
        const std::lock_guard lock(mutex_);
        refuse_ = std::move(refuse);
    }
    [[nodiscard]] std::vector<Stored> stored() const {
        const std::lock_guard lock(mutex_);
        return stored_;
    }
    [[nodiscard]] std::vector<std::string> payloads() const {
        std::vector<std::string> all;
        for (const Stored& message : stored()) all.push_back(message.payload);
        return all;
    }
    [[nodiscard]] std::uint64_t opens() const {
        const std::lock_guard lock(mutex_);
        return opens_;
    }
    [[nodiscard]] std::uint64_t publishes() const {
        const std::lock_guard lock(mutex_);
        return publishes_;
    }
    /// A restored backup, or another broker.
    void forget_everything() {
        const std::lock_guard lock(mutex_);
        producers_.clear();
        ++cut_;
    }
    /// Consumers took all there was.
    void forget_messages() {
        const std::lock_guard lock(mutex_);
        stored_.clear();
    }
    /// What somebody else with the same name and epoch does.
    void advance_mark(const std::string& producer, std::uint64_t mark) {
        const std::lock_guard lock(mutex_);
        producers_[producer].mark = mark;
    }
    void set_epoch(const std::string& producer, std::uint64_t epoch) {
        const std::lock_guard lock(mutex_);
        producers_[producer] = Producer{epoch, 0, {}};
    }

private:
    class Connection;
    struct Producer {
        std::uint64_t epoch = 1;
        std::uint64_t mark = 0;
        std::set<std::uint64_t> open;
    };

    mutable std::mutex mutex_;
    bool down_ = false;
    std::uint64_t cut_ = 0;
    int lose_answers_ = 0;
    std::uint64_t opens_ = 0;
    std::uint64_t publishes_ = 0;
    Refuse refuse_;
    std::map<std::string, Producer> producers_;
    std::vector<Stored> stored_;
};

class MemoryBroker::Connection final : public transport::SequencedPublisher {
public:
    Connection(MemoryBroker& broker, transport::SequencedEvents& events)
        : broker_(broker), events_(events) {}

    transport::Answer<transport::ProducerState> open(std::string_view producer,
                                                     std::uint64_t epoch) override {
        const std::lock_guard lock(broker_.mutex_);
        ++broker_.opens_;
        items_.clear();
        if (broker_.down_) {
            return transport::ClientError{Errc::unreachable, wire::Code::ok, "the broker is down"};
        }
        name_ = producer;
        epoch_ = epoch;
        settled_ = 0;
        const auto found = broker_.producers_.find(name_);
        if (found != broker_.producers_.end() && epoch < found->second.epoch) {
            return transport::ClientError{Errc::conflict, wire::Code::fenced, "a newer epoch"};
        }
        Producer& known = broker_.producers_[name_];
        if (found == broker_.producers_.end() || epoch > known.epoch) known = {epoch, 0, {}};
        cut_ = broker_.cut_;
        ready_ = true;
        transport::ProducerState state;
        state.epoch = epoch;
        state.mark = known.mark;
        state.payload_bytes_max = 1'000'000;
        for (const std::uint64_t sequence : known.open) state.open.push_back({sequence, sequence});
        return state;
    }
    Status publish(std::uint64_t sequence, const transport::SequencedMessage& message) override {
        if (!alive()) return Error{Errc::unreachable, 0, 0, "lost"};
        Item item;
        item.sequence = sequence;
        item.settled = settled_;
        item.message.routing_key = message.routing_key;
        item.message.payload = as_text(message.payload);
        if (!wire::read_properties(message.properties, item.message.properties)) {
            return Error{Errc::rejected, 0, 0, "malformed properties"};
        }
        items_.push_back(std::move(item));
        return ok_status();
    }
    Status hold(transport::SequenceRange sequences) override {
        if (!alive()) return Error{Errc::unreachable, 0, 0, "lost"};
        Item item;
        item.hold = sequences;
        items_.push_back(std::move(item));
        return ok_status();
    }
    void settled(std::uint64_t upto) override { settled_ = upto; }
    void flush() override {
        if (!alive()) return;
        std::vector<std::pair<std::uint64_t, transport::Outcome>> answers;
        bool fenced = false;
        bool lose = false;
        {
            const std::lock_guard lock(broker_.mutex_);
            Producer& producer = broker_.producers_[name_];
            fenced = producer.epoch != epoch_;
            lose = !items_.empty() && broker_.lose_answers_ > 0;
            if (lose) --broker_.lose_answers_;
            bool stopped = false;
            std::uint64_t expected = 0;
            for (Item& item : items_) {
                if (fenced) break;
                // A new frame, as far as it matters: the numbers do not follow on.
                if (item.sequence != expected) stopped = false;
                expected = item.sequence + 1;
                take(producer, item, stopped, answers);
            }
            items_.clear();
        }
        if (fenced || lose) {
            ready_ = false;
            events_.on_lost({Errc::unreachable, fenced ? wire::Code::fenced : wire::Code::ok,
                             fenced ? "a newer epoch" : "cut before the answer"});
            return;
        }
        for (const auto& [sequence, outcome] : answers) {
            events_.on_answered({sequence, sequence}, outcome);
        }
    }
    [[nodiscard]] std::uint64_t unanswered() const override { return items_.size(); }
    void close() override { ready_ = false; }

private:
    struct Item {
        std::uint64_t sequence = 0;  // 0: a hold
        transport::SequenceRange hold;
        std::uint64_t settled = 0;
        Stored message;
    };

    bool alive() {
        if (!ready_) return false;
        {
            const std::lock_guard lock(broker_.mutex_);
            if (cut_ == broker_.cut_) return true;
        }
        ready_ = false;
        events_.on_lost({Errc::unreachable, wire::Code::ok, "the connection was cut"});
        return false;
    }
    void take(Producer& producer, Item& item, bool& stopped,
              std::vector<std::pair<std::uint64_t, transport::Outcome>>& answers) {
        using Kind = transport::Outcome::Kind;
        if (item.sequence == 0) {
            if (item.hold.first != producer.mark + 1) return;
            for (std::uint64_t s = item.hold.first; s <= item.hold.last; ++s) {
                producer.open.insert(s);
            }
            producer.mark = item.hold.last;
            return;
        }
        ++broker_.publishes_;
        const bool open = producer.open.count(item.sequence) > 0;
        const auto answer = [&](Kind kind, wire::Code code) {
            answers.push_back({item.sequence, {kind, code, "told to"}});
        };
        if (item.sequence > producer.mark + 1)
            return answer(Kind::refused, wire::Code::sequence_gap);
        producer.open.erase(producer.open.begin(), producer.open.upper_bound(item.settled));
        if (item.sequence <= producer.mark && !open) return answer(Kind::duplicate, wire::Code::ok);
        if (stopped) return answer(Kind::refused, wire::Code::sequence_gap);
        item.message.producer = name_;
        item.message.epoch = epoch_;
        item.message.sequence = item.sequence;
        const wire::Code code = broker_.refuse_ ? broker_.refuse_(item.message) : wire::Code::ok;
        if (code != wire::Code::ok) {
            stopped = true;
            return answer(Kind::refused, code);
        }
        producer.open.erase(item.sequence);
        producer.mark = std::max(producer.mark, item.sequence);
        broker_.stored_.push_back(item.message);
        answer(Kind::confirmed, wire::Code::ok);
    }

    MemoryBroker& broker_;
    transport::SequencedEvents& events_;
    std::vector<Item> items_;
    std::string name_;
    std::uint64_t epoch_ = 0;
    std::uint64_t cut_ = 0;
    std::uint64_t settled_ = 0;
    bool ready_ = false;
};

inline std::unique_ptr<transport::SequencedPublisher> MemoryBroker::connect(
    transport::SequencedEvents& events) {
    return std::make_unique<Connection>(*this, events);
}

}  // namespace ferry::test
