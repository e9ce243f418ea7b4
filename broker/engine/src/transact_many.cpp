// Many transactions of one producer in one command.
//
// Mostly none of them is refused. Then they are one record with as many sequences: it is there or
// it is not, so each of them is, and nobody is told of one before all are durable. Planning,
// routes, settlements, the record and its end are paid once. If any of them would be refused, or
// some have come before, nothing has been changed by finding that out, and they are carried out one
// by one.

#include "ferry/platform/assert.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"
#include "state.hpp"

namespace ferry::engine {
namespace {

// Acks come one behind another, which is one range.
void join(std::span<const TransactionItem> items, std::vector<TransactionPart>& parts,
          std::vector<Range<Tag>>& tags) {
    parts.clear();
    tags.clear();
    std::size_t ranges = 0;
    for (const TransactionItem& item : items) {
        for (const TransactionPart& part : item.parts) ranges += part.tags.size();
    }
    tags.reserve(ranges);  // the parts point into it
    for (const TransactionItem& item : items) {
        for (const TransactionPart& part : item.parts) {
            if (parts.empty() || parts.back().subscription != part.subscription ||
                parts.back().reject != part.reject) {
                parts.push_back({part.subscription, part.reject, {tags.data() + tags.size(), 0}});
            }
            std::size_t count = parts.back().tags.size();
            for (const Range<Tag>& next : part.tags) {
                const bool follows = count > 0 && tags.back().last + 1 == next.first &&
                                     next.first <= next.last && next.last != UINT64_MAX;
                if (follows) {
                    tags.back().last = next.last;
                } else {
                    tags.push_back(next);
                    ++count;
                }
            }
            parts.back().tags = {parts.back().tags.data(), count};
        }
    }
}

}  // namespace

// False: nothing was changed; they have to be carried out one by one, if they are not malformed.
bool Engine::State::carry_out_together(const TransactionsCommand& command, Producer& producer,
                                       Now now, bool& malformed) {
    join(command.items, joined_parts, joined_tags);
    TransactionCommand all;
    all.session = command.session;
    all.producer = command.producer;
    all.sequence = command.first;
    all.flags = command.flags;
    all.settled = command.settled;
    all.parts = joined_parts;
    all.count = command.count;
    all.messages = command.messages;
    all.told_by_sequence = true;
    Code code = Code::ok;
    std::string why;
    malformed = !plan_transaction(all, now, why, code);
    if (malformed) return false;
    hear(all, now);
    Settlements settlements;
    if (command.first != producer.mark + 1 || code != Code::ok ||
        !find_settlements(all, settlements, why, code)) {
        forget_planned_ids();
        return false;
    }
    write_transaction(all, producer, settlements, now, command.items.size());
    return true;
}

bool Engine::State::carry_out_apart(const TransactionsCommand& command, Now now) {
    TransactionCommand one;
    one.session = command.session;
    one.producer = command.producer;
    one.sequence = command.first;
    one.flags = command.flags;
    one.settled = command.settled;
    one.told_by_sequence = true;
    wire::Cursor cursor(command.messages);
    for (const TransactionItem& item : command.items) {
        const std::byte* const begin = cursor.position();
        wire::MessageView message;
        for (std::uint32_t i = 0; i < item.count; ++i) {
            if (!wire::read_message(cursor, message)) return false;  // planned before: never
        }
        one.parts = item.parts;
        one.count = item.count;
        one.messages = Bytes(begin, static_cast<std::size_t>(cursor.position() - begin));
        if (!transact(one, now)) return false;
        ++one.sequence;
    }
    return true;
}

bool Engine::State::transact_many(const TransactionsCommand& command, Now now) {
    see(now);
    Session* session = session_of(command.session);
    FERRY_ASSERT(session != nullptr, "the driver opened the session");
    if (command.items.empty() || command.count > limits::messages_per_frame_max ||
        command.first == 0 || command.first + command.items.size() < command.first) {
        return false;
    }
    const PublishCommand like{command.session, command.producer, command.first,   command.flags,
                              command.settled, command.count,    command.messages};
    const Range<Sequence> all{command.first, command.first + command.items.size() - 1};
    const auto refuse_all = [&](Code code) {
        effects.push_back(
            Refuse{command.session, command.producer, all, code, refusal_text(code, like)});
        return true;
    };
    const auto handle = session->producers.find(command.producer);
    if (handle == session->producers.end()) return refuse_all(Code::no_such_producer);
    Producer* producer = producers.find(handle->second.number);
    if (producer == nullptr || producer->epoch != handle->second.epoch)
        return refuse_all(Code::fenced);
    if (command.first > producer->mark + 1) return refuse_all(Code::sequence_gap);
    if (producer->open.size() > 0) producer->open.remove_upto(command.settled);
    bool malformed = false;
    if (carry_out_together(command, *producer, now, malformed)) return true;
    return !malformed && carry_out_apart(command, now);
}

bool Engine::transact_many(const TransactionsCommand& command, Now now) {
    return state_->transact_many(command, now);
}

}  // namespace ferry::engine
