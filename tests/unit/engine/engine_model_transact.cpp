// What the clients of EngineModel do in transactions.

#include "engine_model.hpp"

namespace ferry::engine::testing {

EngineModel::MadeTransaction EngineModel::make_transaction(SessionId session,
                                                           const std::string& name,
                                                           Sequence sequence) {
    MadeTransaction made;
    wire::Encoder out(made.messages);
    made.count = static_cast<std::uint32_t>(random_.below(4));
    for (std::uint64_t i = 0; i < made.count; ++i) {
        const std::uint64_t route = random_.below(20);
        out.array(4).str(route == 0 ? "missing" : route <= 4 ? "amq.fanout" : "");
        out.str(route == 5 ? "nobody" : some_queue()).nil();
        out.bin(as_bytes(name + ".tx." + std::to_string(sequence) + "." + std::to_string(i)));
    }
    // What some of the session's consumers hold, and now and then what they do not hold any more.
    for (const auto& [key, sub] : subs_) {
        if (key.first != session || random_.below(2) == 0) continue;
        std::vector<Range<Tag>> some;
        if (random_.below(4) == 0) some = some_tags(sub);
        if (some.empty() && !sub.held.empty()) {
            // Mostly those that it got first; several transactions have one behind another.
            auto held = sub.held.begin();
            const auto skip = std::min<std::size_t>(sequence % 4, sub.held.size() - 1);
            if (random_.below(3) != 0) std::advance(held, skip);
            some.push_back({held->first, held->first});
        }
        if (some.empty()) continue;
        made.subs.push_back(key);
        made.tags.push_back(std::move(some));
        made.parts.push_back({key.second, random_.below(4) == 0, {}});
    }
    for (std::size_t i = 0; i < made.parts.size(); ++i) made.parts[i].tags = made.tags[i];
    return made;
}

void EngineModel::transact() {
    const SessionId session = some_session();
    const std::string name = random_.below(3) == 0 ? "other" : "main";
    const auto client = clients_.find({session, name});
    if (client == clients_.end()) return open_producer(session, name, false);
    const LogReader::Producer* p = log_.producer(name);
    if (p->epoch != client->second.epoch) return;
    const Sequence sequence =
        random_.below(8) == 0 && !p->open.empty() ? *p->open.begin() : p->mark + 1;

    // What the client has settled is told as a duplicate.
    if (sequence <= given_up_[{name, p->epoch}]) return;
    if (random_.below(2) == 0) return transact_many(session, name, sequence);

    const MadeTransaction made = make_transaction(session, name, sequence);
    TransactionCommand command;
    command.session = session;
    command.request = next_request_++;
    command.producer = client->second.handle;
    command.sequence = sequence;
    command.flags = random_.below(2) == 0 ? wire::publish_mandatory : 0;
    command.parts = made.parts;
    command.count = made.count;
    command.messages = made.messages;
    transacting_[command.request] = {};
    const std::size_t records_before = journal_.records().size();
    if (!engine_->transact(command, now())) problem("a good transaction is called malformed");
    after_call();
    p = log_.producer(name);
    const auto taken = p->taken.find(sequence);
    if (taken == p->taken.end()) {
        // Refused: at most the open sequence was written, and everybody holds what he held.
        if (journal_.records().size() > records_before + 1) problem("a refusal wrote something");
        return;
    }
    ++transactions;
    transacting_[command.request].record = taken->second;
    check_settled(taken->second, made);
}

// Each of them is there as a whole or not at all, whatever becomes of the others.
void EngineModel::transact_many(SessionId session, const std::string& name, Sequence first) {
    const std::size_t size = 1 + random_.below(5);
    std::vector<MadeTransaction> made;
    std::vector<TransactionItem> items;
    std::vector<std::byte> messages;
    TransactionsCommand command;
    command.session = session;
    command.producer = clients_.at({session, name}).handle;
    command.first = first;
    command.flags = random_.below(2) == 0 ? wire::publish_mandatory : 0;
    std::set<Sequence> before;  // were taken
    for (std::size_t i = 0; i < size; ++i) {
        if (log_.producer(name)->taken.count(first + i) != 0) before.insert(first + i);
        made.push_back(make_transaction(session, name, first + i));
        messages.insert(messages.end(), made[i].messages.begin(), made[i].messages.end());
        command.count += made[i].count;
        ++unanswered_[{session, command.producer, first + i}];
    }
    for (const MadeTransaction& one : made) items.push_back({one.count, one.parts});
    command.items = items;
    command.messages = messages;
    if (!engine_->transact_many(command, now())) problem("good transactions are called malformed");
    after_call();
    for (std::size_t i = 0; i < size; ++i) {
        const auto& taken = log_.producer(name)->taken;
        const auto found = taken.find(first + i);
        if (found == taken.end() || before.count(first + i) != 0) continue;
        ++transactions;
        check_settled(found->second, made[i]);
    }
}

// The acks of a transaction are in its record.
void EngineModel::check_settled(Position record, const MadeTransaction& made) {
    for (std::size_t i = 0; i < made.parts.size(); ++i) {
        Sub& sub = subs_.at(made.subs[i]);
        std::vector<Range<Tag>> lost;
        const std::vector<MessageKey> keys = take_tags(sub, made.tags[i], lost);
        if (!lost.empty()) problem("a transaction with a lost lease was carried out");
        if (made.parts[i].reject && has_dead_letters(sub.queue))
            continue;  // dead letters leave later
        for (const MessageKey& key : keys) {
            const auto removed = log_.removed_at.find(key);
            if (removed == log_.removed_at.end() || removed->second != record)
                problem("a transaction's acks are not in its record");
        }
    }
}

void EngineModel::on_transaction(const Reply& reply) {
    const auto found = transacting_.find(reply.request);
    if (found == transacting_.end()) return;
    if (std::holds_alternative<TransactionAnswer>(reply.answer)) {
        if (found->second.record == 0) problem("a refused transaction is told as done");
        if (found->second.record >= durable_) problem("told of a transaction before it is durable");
    } else if (found->second.record != 0) {
        problem("a transaction that was written is told as refused");
    }
    transacting_.erase(found);
}

}  // namespace ferry::engine::testing
