#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine_rig.hpp"
#include "records.hpp"

namespace ferry::engine::testing {

/// What a log stands for, computed the slow and obvious way: one entry per message and queue. The
/// engine's extents, index blocks and checkpoints have to come to the same.
class LogReader {
public:
    struct Queue {
        std::string name;
        std::map<Position, std::string> waiting;  // payloads, by position
        // Runs, by due time: retries, and delayed publishes message by message.
        std::map<std::pair<std::uint64_t, Position>, std::uint32_t> delayed;
        std::set<std::pair<std::uint64_t, Position>> scheduled;
        std::set<Position> leaving;
        std::map<std::string, std::uint64_t> seen;  // ids of published messages: when last
    };
    struct Producer {
        std::string name;
        std::uint64_t epoch = 0;
        Sequence mark = 0;
        std::set<Sequence> open;
        std::map<Sequence, Position> taken;  // the record that took it
    };

    /// A prepared message: until it is decided.
    struct Waiting {
        std::uint32_t checks = 0;
        bool parked = false;
        Position at = 0;
    };
    struct Decision {
        bool submitted = false;
        Position at = 0;
    };

    void read(const MemoryJournal::Record& record) {
        Reader in(record.body);
        at_ = record.place.position;
        switch (static_cast<RecordType>(in.u8())) {
            case RecordType::publish:
            case RecordType::transaction:
            case RecordType::schedule_fired:
            case RecordType::prepared_submit:
            case RecordType::prepared_check:
                return read_publish(record.body);
            case RecordType::prepared:
            case RecordType::prepared_drop:
            case RecordType::prepared_park:
            case RecordType::prepared_resume:
                return read_prepared(static_cast<RecordType>(record.body[0]), in);
            case RecordType::delayed:
                return read_delayed(in);
            case RecordType::due:
                return read_due(in);
            case RecordType::cancel:
                return read_cancel(in);
            case RecordType::leave:
                return read_leave(in);
            case RecordType::ack:
                return read_ack(record.body);
            case RecordType::purge:
            case RecordType::returned:
                return read_extents(record.body);
            case RecordType::queue_declare: {
                const auto id = static_cast<QueueId>(in.varint());
                if (queues.count(id) != 0) problems.push_back("a queue number is used twice");
                queues[id].name = in.text();
                return;
            }
            case RecordType::queue_delete: {
                const auto id = static_cast<QueueId>(in.varint());
                for (const auto& [p, payload] : queues[id].waiting) removed_at[{id, p}] = at_;
                queues.erase(id);
                return;
            }
            case RecordType::producer: {
                Producer& p = producers[in.varint()];
                p = Producer{};
                p.name = in.text();
                p.epoch = in.varint();
                return;
            }
            case RecordType::producer_open: {
                Producer& p = producers[in.varint()];
                for (const auto& range : get_ranges(in)) {
                    for (Sequence s = range.first; s <= range.last; ++s) p.open.insert(s);
                    p.mark = std::max(p.mark, range.last);
                }
                return;
            }
            case RecordType::index_block:
                ++index_blocks;
                return;
            default:
                return;
        }
    }

    [[nodiscard]] QueueId id_of(std::string_view name) const {
        for (const auto& [id, queue] : queues) {
            if (queue.name == name) return id;
        }
        return 0;
    }
    [[nodiscard]] const Producer* producer(std::string_view name) const {
        for (const auto& [number, p] : producers) {
            if (p.name == name) return &p;
        }
        return nullptr;
    }

    static constexpr std::uint64_t dedupe_window_ms = 20'000;  // of q3
    std::map<QueueId, Queue> queues;
    std::map<std::uint64_t, Producer> producers;
    std::map<std::pair<QueueId, Position>, Position> removed_at;
    std::set<std::pair<std::string, std::uint64_t>> occurrences;  // of schedules
    std::map<std::string, Waiting> prepared;
    std::map<std::string, Decision> decided;
    std::uint64_t index_blocks = 0;
    std::vector<std::string> problems;

private:
    void read_publish(Bytes body) {
        PublishRecord record;
        if (!decode_publish(body, record)) return problems.push_back("bad publish record");
        if (!record.schedule.empty() &&
            !occurrences.insert({record.schedule, record.due_ms}).second)
            problems.push_back("a due time has two messages");
        if (!record.prepared.empty() && record.next_check != 0) {
            ++waiting_for(record.prepared).checks;
        } else if (!record.prepared.empty()) {
            decide(record.prepared, true);
        }
        for (const QueueSpans& group : record.acks) {
            for (const Span& span : group.spans) {
                for (Position p = span.first; p < span.first + span.count; ++p) {
                    // A client's transaction settles what its consumer holds.
                    const bool left = queues.at(group.queue).leaving.erase(p) != 0;
                    if (left != (record.producer == 0))
                        problems.push_back("a transfer takes what does not leave");
                    remove(group.queue, p);
                }
            }
        }
        for (const QueueRejects& group : record.rejects) {
            for (const auto& [e, attempts] : group.parts) leave(group.queue, e);
        }
        wire::Cursor cursor(body.subspan(record.messages_offset));
        Position position = at_;
        for (const Run& run : record.runs) {
            for (std::uint32_t i = 0; i < run.count; ++i, ++position) {
                wire::MessageView message;
                if (!wire::read_message(cursor, message)) problems.push_back("bad message");
                for (std::uint32_t t = 0; t < run.targets_count; ++t) {
                    const QueueId id = record.targets[run.targets_first + t].queue;
                    queues.at(id).waiting[position] = std::string(as_text(message.payload));
                    if (record.producer != 0 || record.submits())
                        note_id(queues.at(id), message, record.wall_ms);
                    if (run.deliver_at == 0) continue;
                    queues.at(id).scheduled.insert({run.deliver_at, position});
                    run_of[position] = at_ + static_cast<std::uint64_t>(&run - record.runs.data());
                }
            }
        }
        if (record.producer == 0) return;
        Producer& p = producers.at(record.producer);
        for (Sequence s = record.first; s < record.first + record.sequences; ++s) {
            if (!p.taken.emplace(s, at_).second) problems.push_back("a sequence was taken twice");
            p.open.erase(s);
            p.mark = std::max(p.mark, s);
        }
        p.open.erase(p.open.begin(), p.open.upper_bound(record.settled));
    }
    Waiting& waiting_for(const std::string& id) {
        const auto [at, fresh] = prepared.try_emplace(id);
        if (fresh || at->second.parked) problems.push_back("asks for " + id + " in vain");
        return at->second;
    }
    void decide(const std::string& id, bool submitted) {
        if (prepared.erase(id) == 0) problems.push_back("decides what is not prepared: " + id);
        if (!decided.emplace(id, Decision{submitted, at_}).second)
            problems.push_back(id + " is decided twice");
    }
    void read_prepared(RecordType type, Reader& in) {
        if (type == RecordType::prepared) {
            in.varint();
            const std::string id(in.text());
            if (decided.count(id) != 0 || !prepared.emplace(id, Waiting{0, false, at_}).second)
                problems.push_back(id + " is prepared twice");
            return;
        }
        const std::string id(in.text());
        if (type == RecordType::prepared_drop) return decide(id, false);
        const auto at = prepared.find(id);
        if (at == prepared.end()) return problems.push_back(id + " is not prepared");
        at->second.parked = type == RecordType::prepared_park;
        if (type == RecordType::prepared_resume) at->second.checks = 0;
    }
    void note_id(Queue& queue, const wire::MessageView& message, std::uint64_t wall_ms) {
        if (queue.name != "q3") return;
        wire::Properties properties;
        if (!wire::read_properties(message.properties, properties)) return;
        if (properties.id.empty()) return;
        const auto [seen, fresh] = queue.seen.emplace(properties.id, wall_ms);
        if (!fresh && wall_ms < seen->second + dedupe_window_ms - 2)
            problems.push_back("an id was stored twice within its window");
        seen->second = wall_ms;
    }
    void read_ack(Bytes body) {
        std::vector<QueueSpans> groups;
        if (!decode_ack(body, groups)) return problems.push_back("bad ack record");
        for (const QueueSpans& group : groups) {
            for (const Span& span : group.spans) {
                for (Position p = span.first; p < span.first + span.count; ++p) {
                    remove(group.queue, p);
                }
            }
        }
    }
    void read_extents(Bytes body) {
        QueueId id = 0;
        std::vector<Extent> extents;
        const auto type = static_cast<RecordType>(body[0]);
        if (!decode_extents(body, type, id, extents)) return problems.push_back("bad extents");
        std::map<Position, std::string> kept;
        auto& waiting = queues.at(id).waiting;
        for (const Extent& e : extents) {
            for (Position p = e.first; p < e.end(); ++p) {
                const auto found = waiting.find(p);
                if (found == waiting.end()) {
                    problems.push_back("a record names a message that is not there");
                } else {
                    kept.insert(*found);
                }
            }
        }
        if (type == RecordType::returned) return;
        // What is on its way out stays on it.
        for (const Position p : queues.at(id).leaving) kept.emplace(p, waiting.at(p));
        queues.at(id).delayed.clear();
        queues.at(id).scheduled.clear();
        for (const auto& [p, payload] : waiting) {
            if (kept.count(p) == 0) removed_at[{id, p}] = at_;
        }
        waiting.swap(kept);
    }
    void read_delayed(Reader& in) {
        const auto id = static_cast<QueueId>(in.varint());
        const std::uint64_t steady = in.varint();
        in.varint();
        Position end = 0;
        for (std::size_t i = in.count(6); i > 0; --i) {
            const std::uint64_t delay = in.varint();
            const Extent e = get_extent(in, end);
            end = e.end();
            for (Position p = e.first; p < e.end(); ++p) {
                if (queues.at(id).waiting.count(p) == 0)
                    problems.push_back("a delay names a message that is not there");
            }
            if (!queues.at(id).delayed.emplace(std::pair{steady + delay, e.first}, e.count).second)
                problems.push_back("a message is delayed twice");
        }
    }
    void read_due(Reader& in) {
        const auto id = static_cast<QueueId>(in.varint());
        const bool retries = in.u8() == 0;
        const std::uint64_t due = in.varint();
        const Position first = in.varint();
        auto& delayed = queues.at(id).delayed;
        auto& scheduled = queues.at(id).scheduled;
        if (retries) {
            delayed.erase(delayed.begin(), delayed.upper_bound({due, first}));
            return;
        }
        // The record names a run by its first message.
        auto end = scheduled.upper_bound({due, first});
        while (end != scheduled.end() && end->first == due && end != scheduled.begin() &&
               std::prev(end)->second + 1 == end->second && run_of.count(end->second) != 0 &&
               run_of.at(end->second) == run_of.at(std::prev(end)->second)) {
            ++end;
        }
        scheduled.erase(scheduled.begin(), end);
    }
    void read_cancel(Reader& in) {
        const auto id = static_cast<QueueId>(in.varint());
        const std::uint64_t due = in.varint();
        const Position position = in.varint();
        if (queues.at(id).scheduled.erase({due, position}) == 0)
            problems.push_back("a cancel names a message that does not wait");
        remove(id, position);
    }
    void read_leave(Reader& in) {
        const auto id = static_cast<QueueId>(in.varint());
        in.u8();
        in.varint();
        in.text();
        Position end = 0;
        for (std::size_t i = in.count(6); i > 0; --i) {
            in.varint();
            const Extent e = get_extent(in, end);
            end = e.end();
            leave(id, e);
        }
    }
    void leave(QueueId id, const Extent& e) {
        for (Position p = e.first; p < e.end(); ++p) {
            if (queues.at(id).waiting.count(p) == 0) problems.push_back("what leaves is not there");
            queues.at(id).leaving.insert(p);
        }
    }
    void remove(QueueId id, Position p) {
        const auto queue = queues.find(id);
        if (queue == queues.end() || queue->second.waiting.erase(p) == 0) {
            problems.push_back("an ack names a message that is not there");
        }
        removed_at[{id, p}] = at_;
    }

    Position at_ = 0;
    std::map<Position, std::uint64_t> run_of;  // of scheduled messages
};

}  // namespace ferry::engine::testing
