// What the clients of EngineModel do in transactions.

#include "engine_model.hpp"

namespace ferry::engine::testing {

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

    std::vector<std::byte> bytes;
    wire::Encoder out(bytes);
    const std::uint64_t count = random_.below(4);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t route = random_.below(20);
        out.array(4).str(route == 0 ? "missing" : route <= 4 ? "amq.fanout" : "");
        out.str(route == 5 ? "nobody" : some_queue()).nil();
        out.bin(as_bytes(name + ".tx." + std::to_string(sequence) + "." + std::to_string(i)));
    }
    // What some of the session's consumers hold, and now and then what they do not hold any more.
    std::vector<SubKey> subs;
    std::vector<std::vector<Range<Tag>>> tags;
    std::vector<TransactionPart> parts;
    for (const auto& [key, sub] : subs_) {
        if (key.first != session || random_.below(2) == 0) continue;
        std::vector<Range<Tag>> some;
        if (random_.below(4) == 0) some = some_tags(sub);
        if (some.empty() && !sub.held.empty())
            some.push_back({sub.held.begin()->first, sub.held.begin()->first});
        if (some.empty()) continue;
        subs.push_back(key);
        tags.push_back(std::move(some));
        parts.push_back({key.second, random_.below(4) == 0, {}});
    }
    for (std::size_t i = 0; i < parts.size(); ++i) parts[i].tags = tags[i];

    TransactionCommand command;
    command.session = session;
    command.request = next_request_++;
    command.producer = client->second.handle;
    command.sequence = sequence;
    command.flags = random_.below(2) == 0 ? wire::publish_mandatory : 0;
    command.parts = parts;
    command.count = static_cast<std::uint32_t>(count);
    command.messages = bytes;
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
    check_settled(taken->second, subs, tags, parts);
}

// The acks of a transaction are in its record.
void EngineModel::check_settled(Position record, const std::vector<SubKey>& subs,
                                const std::vector<std::vector<Range<Tag>>>& tags,
                                const std::vector<TransactionPart>& parts) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
        Sub& sub = subs_.at(subs[i]);
        std::vector<Range<Tag>> lost;
        const std::vector<MessageKey> keys = take_tags(sub, tags[i], lost);
        if (!lost.empty()) problem("a transaction with a lost lease was carried out");
        if (parts[i].reject && has_dead_letters(sub.queue)) continue;  // dead letters leave later
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
