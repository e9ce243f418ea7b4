#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ferry/engine/engine.hpp"
#include "ferry/wire/message.hpp"
#include "ferry/wire/verbs.hpp"

namespace ferry::engine::testing {

/// A journal in memory that gives positions the way the log does: every record takes 8 bytes and
/// its body, batches have headers of 64 bytes, and segments begin at multiples of `segment_bytes`.
class MemoryJournal final : public Journal {
public:
    struct Record {
        Place place;
        std::vector<std::byte> body;
    };

    explicit MemoryJournal(Position segment_bytes = 64 * 1024) : segment_bytes_(segment_bytes) {}

    Place append(std::span<const Bytes> parts) override {
        Record record;
        for (const Bytes& part : parts) {
            record.body.insert(record.body.end(), part.begin(), part.end());
        }
        if (next_ - segment_ >= segment_bytes_) begin_segment();
        record.place = {next_, segment_};
        next_ += 8 + record.body.size();
        places_[record.place.position] = records_.size();
        records_.push_back(std::move(record));
        return records_.back().place;
    }
    /// A new batch: what came before is written.
    void end_batch() { next_ = (next_ + 511) / 512 * 512 + 64; }

    [[nodiscard]] Position end() const { return next_; }
    [[nodiscard]] const std::vector<Record>& records() const { return records_; }
    [[nodiscard]] Bytes body_at(Position position) const {
        const auto at = places_.find(position);
        return at == places_.end() ? Bytes{} : Bytes(records_[at->second].body);
    }
    /// A power cut: records at or above `durable` are gone; positions are never used again.
    void lose_from(Position durable) {
        while (!records_.empty() && records_.back().place.position >= durable) {
            places_.erase(records_.back().place.position);
            records_.pop_back();
        }
        begin_segment();
    }

private:
    void begin_segment() {
        segment_ = (next_ + 4095) / 4096 * 4096;
        next_ = segment_ + 64;
    }

    Position segment_bytes_;
    Position segment_ = 0;
    Position next_ = 64;
    std::vector<Record> records_;
    std::map<Position, std::size_t> places_;
};

inline std::vector<std::byte> message(std::string_view exchange, std::string_view key,
                                      std::string_view payload,
                                      const wire::Properties& properties = {}) {
    std::vector<std::byte> bytes;
    wire::Encoder encoder(bytes);
    wire::Message m{std::string(exchange), std::string(key), properties, std::string(payload)};
    wire::write_message(encoder, m);
    return bytes;
}

/// What a consumer saw of one message.
struct Seen {
    SessionId session = 0;
    std::uint64_t subscription = 0;
    Tag tag = 0;
    Position position = 0;
    Position token = 0;
    std::uint32_t attempt = 0;
    std::string payload;
};

/// An engine with its journal, driven by hand.
class Rig {
public:
    explicit Rig(Settings settings = {}) : settings_(settings) {
        start();
        engine_->recovered(false, now());
        sync();
    }

    void start() {
        effects_.clear();
        engine_ = std::make_unique<Engine>(journal_, effects_, settings_);
    }
    /// A fresh engine over what is durable, as after a crash.
    void crash() {
        journal_.lose_from(durable_);
        start();
        if (!checkpoint_.empty()) {
            ok(engine_->load(checkpoint_));
        }
        for (const auto& record : journal_.records()) {
            if (record.place.position >= checkpoint_at_) {
                ok(engine_->replay(record.place, record.body));
            }
        }
        engine_->recovered(true, now());
        sync();
    }
    /// return_all(), a clean checkpoint, and a new engine that loads nothing else.
    void restart_cleanly() {
        engine_->return_all(now());
        engine_->save(checkpoint_, true);
        checkpoint_at_ = journal_.end();
        durable_ = journal_.end();
        journal_.end_batch();
        start();
        ok(engine_->load(checkpoint_));
        engine_->recovered(false, now());
        sync();
    }
    void take_checkpoint() {
        engine_->save(checkpoint_, false);
        checkpoint_at_ = journal_.end();
    }

    void sync() {
        durable_ = journal_.end();
        journal_.end_batch();
        engine_->durable(durable_);
    }
    /// What a turn of the driver does: dispatch, sync, and again until nothing more happens.
    void settle() {
        for (int i = 0; i < 8; ++i) {
            engine_->dispatch(now());
            sync();
            answer_loads();
        }
        engine_->dispatch(now());
    }
    void answer_loads() {
        Effects found;
        found.swap(effects_);
        for (Effect& effect : found) {
            if (const auto* load = std::get_if<LoadIndex>(&effect)) {
                engine_->index_loaded(load->queue, load->record, journal_.body_at(load->record));
            } else if (const auto* wanted = std::get_if<LoadBody>(&effect)) {
                if (wanted->record >= durable_) problems_.push_back("asks for what is not durable");
                const Bytes stored = journal_.body_at(wanted->record);
                const std::vector<std::byte> body(stored.begin(), stored.end());
                if (bodies_unreadable) {
                    engine_->body_unreadable(wanted->queue, wanted->record);
                } else {
                    engine_->body_loaded(wanted->queue, wanted->record, body, now());
                }
            } else if (const auto* due = std::get_if<ScheduleDue>(&effect)) {
                engine_->schedule_due(due->name, due->due_ms, next_after(due->after_ms), now());
            } else {
                effects_.push_back(std::move(effect));
            }
        }
    }
    /// The calendar of this rig: everything is due at whole periods.
    [[nodiscard]] std::uint64_t next_after(std::uint64_t ms) const {
        return (ms / schedule_period_ms + 1) * schedule_period_ms;
    }
    std::uint64_t schedule_period_ms = 60'000;

    // -- short forms of commands --
    std::uint64_t producer(SessionId session, std::string_view name) {
        engine_->open_producer(session, next_request_, name, std::nullopt, false, now());
        settle();
        const auto answer = take_answer<ProducerAnswer>(session, next_request_++);
        return answer ? answer->handle : 0;
    }
    bool publish(SessionId session, std::uint64_t handle, Sequence first,
                 const std::vector<std::vector<std::byte>>& messages, std::uint64_t flags = 0,
                 Sequence settled = 0) {
        std::vector<std::byte> all;
        for (const auto& m : messages) all.insert(all.end(), m.begin(), m.end());
        PublishCommand command;
        command.session = session;
        command.producer = handle;
        command.first = first;
        command.flags = flags;
        command.settled = settled;
        command.count = static_cast<std::uint32_t>(messages.size());
        command.messages = all;
        return engine_->publish(command, now());
    }
    /// Publishes payloads to queues by the default exchange, everything confirmed.
    void send(SessionId session, std::uint64_t handle, Sequence first, std::string_view queue,
              const std::vector<std::string>& payloads) {
        std::vector<std::vector<std::byte>> messages;
        for (const std::string& p : payloads) messages.push_back(message("", queue, p));
        if (!publish(session, handle, first, messages)) problems_.push_back("publish refused");
    }
    void declare(SessionId session, std::string_view name, const QueueOptions& options = {}) {
        engine_->declare_queue(session, next_request_++, name, options, now());
    }
    void subscribe(SessionId session, std::uint64_t id, std::string_view queue,
                   std::uint64_t window = 1000, bool no_ack = false, bool exclusive = false) {
        SubscribeOptions options;
        options.window_messages = window;
        options.window_bytes = 1 << 20;
        options.no_ack = no_ack;
        options.exclusive = exclusive;
        engine_->subscribe(session, next_request_++, id, queue, options, now());
    }
    void ack(SessionId session, std::uint64_t request, std::uint64_t subscription,
             std::vector<Range<Tag>> tags) {
        engine_->ack(session, request, subscription, tags, now());
    }

    // -- what came out --
    /// Takes the Deliver effects, message by message, with the bytes read from the journal.
    std::vector<Seen> deliveries() {
        std::vector<Seen> seen;
        Effects rest;
        for (Effect& effect : effects_) {
            const auto* d = std::get_if<Deliver>(&effect);
            if (d == nullptr) {
                rest.push_back(std::move(effect));
                continue;
            }
            if (d->extent.record() >= durable_ && !delivers_before_durable)
                problems_.push_back("delivered before durable");
            std::vector<std::byte> scratch;
            const Result<Bytes> bytes = message_bytes(journal_.body_at(d->extent.record()),
                                                      d->extent, 0, d->extent.count, scratch);
            if (!bytes.ok()) {
                problems_.push_back("bytes not found: " + std::string(bytes.error().what));
                continue;
            }
            wire::Cursor cursor(bytes.value());
            for (std::uint32_t i = 0; i < d->extent.count; ++i) {
                wire::MessageView view;
                if (!wire::read_message(cursor, view)) problems_.push_back("bad bytes");
                seen.push_back({d->session, d->subscription, d->first_tag + i, d->extent.first + i,
                                d->token, d->attempt, std::string(as_text(view.payload))});
            }
            if (!cursor.at_end()) problems_.push_back("more bytes than messages");
        }
        effects_.swap(rest);
        return seen;
    }
    std::vector<std::string> payloads() {
        std::vector<std::string> all;
        for (const Seen& seen : deliveries()) all.push_back(seen.payload);
        return all;
    }
    template <class T>
    std::vector<T> take() {
        std::vector<T> found;
        Effects rest;
        for (Effect& effect : effects_) {
            if (auto* one = std::get_if<T>(&effect)) {
                found.push_back(std::move(*one));
            } else {
                rest.push_back(std::move(effect));
            }
        }
        effects_.swap(rest);
        return found;
    }
    template <class T>
    std::optional<T> take_answer(SessionId session, std::uint64_t request) {
        std::optional<T> found;
        Effects rest;
        for (Effect& effect : effects_) {
            auto* reply = std::get_if<Reply>(&effect);
            if (reply != nullptr && reply->session == session && reply->request == request &&
                !found && std::holds_alternative<T>(reply->answer)) {
                found = std::get<T>(reply->answer);
            } else {
                rest.push_back(std::move(effect));
            }
        }
        effects_.swap(rest);
        return found;
    }
    /// The code of the failure that answered `request`; ok if there is none.
    Code failure(SessionId session, std::uint64_t request) {
        const auto answer = take_answer<Failure>(session, request);
        return answer ? answer->code : Code::ok;
    }

    void advance_ms(std::uint64_t ms) {
        now_.mono.ns += ms * 1'000'000;
        now_.wall_ms += ms;
    }
    void jump_wall_ms(std::int64_t ms) {
        now_.wall_ms = static_cast<std::uint64_t>(static_cast<std::int64_t>(now_.wall_ms) + ms);
    }
    bool bodies_unreadable = false;
    bool delivers_before_durable = false;  // there are queues that may
    [[nodiscard]] Now now() const { return now_; }
    Engine& engine() { return *engine_; }
    MemoryJournal& journal() { return journal_; }
    Effects& effects() { return effects_; }
    [[nodiscard]] Position durable() const { return durable_; }
    [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }
    [[nodiscard]] QueueView view(std::string_view name) const {
        return engine_->queue(name, now_).value_or(QueueView{});
    }
    [[nodiscard]] std::uint64_t references() const {
        std::uint64_t sum = 0;
        for (const SegmentLoad& load : engine_->segment_loads()) sum += load.references;
        return sum;
    }

private:
    void ok(const Status& status) {
        if (!status.ok()) problems_.push_back(std::string(status.error().what));
    }

    Settings settings_;
    MemoryJournal journal_;
    Effects effects_;
    std::unique_ptr<Engine> engine_;
    Position durable_ = 0;
    std::vector<std::byte> checkpoint_;
    Position checkpoint_at_ = 0;
    Now now_{Instant{1'000'000'000}, 1'700'000'000'000};
    std::uint64_t next_request_ = 1'000'000;
    std::vector<std::string> problems_;
};

}  // namespace ferry::engine::testing
