// The transactions of the fake broker.

#include "fake_broker.hpp"

namespace ferry::test {

void FakeBroker::next_transactions(std::deque<Fate> fates) {
    const std::lock_guard lock(mutex_);
    fates_ = std::move(fates);
}

bool FakeBroker::read_transactions(const wire::FrameHead& head, wire::Cursor& cursor,
                                   std::vector<Transaction>& out) const {
    std::uint64_t handle = 0;
    std::uint64_t flags = 0;
    std::uint64_t settled = 0;
    std::uint32_t items = 0;
    std::uint32_t count = 0;
    if (!cursor.read_uint(handle) || !cursor.read_uint(flags) || !cursor.read_uint(settled) ||
        !cursor.read_array(items)) {
        return false;
    }
    std::vector<std::uint64_t> counts(items);
    for (std::uint64_t& own : counts) {
        std::uint32_t two = 0;
        // The parts are skipped: this broker knows no leases.
        if (!cursor.read_array(two) || !cursor.read_uint(own) || !cursor.skip()) return false;
    }
    if (!cursor.read_array(count)) return false;
    for (std::uint32_t i = 0; i < items; ++i) {
        Transaction& transaction = out.emplace_back();
        transaction.producer = producer_;
        transaction.sequence = head.request + i;
        for (std::uint64_t k = 0; k < counts[i]; ++k) {
            wire::MessageView message;
            if (!wire::read_message(cursor, message)) return false;
            transaction.payloads.emplace_back(as_text(message.payload));
        }
    }
    return true;
}

void FakeBroker::carry_out(const Transaction& transaction) {
    Producer& producer = producers_[transaction.producer];
    producer.mark = std::max(producer.mark, transaction.sequence);
    for (const std::string& payload : transaction.payloads)
        stored_.push_back({transaction.producer, producer.epoch, transaction.sequence, payload});
}

// What an old connection still brought.
void FakeBroker::carry_out_late() {
    for (const Transaction& transaction : std::exchange(late_, {})) {
        if (transaction.sequence == producers_[transaction.producer].mark + 1)
            carry_out(transaction);
    }
}

bool FakeBroker::handle_transactions(const wire::FrameHead& head, wire::Cursor& cursor) {
    std::vector<Transaction> all;
    if (!read_transactions(head, cursor, all)) return false;
    for (Transaction& one : all) {
        if (!handle_transaction(one)) return false;
    }
    return true;
}

bool FakeBroker::handle_transaction(Transaction& transaction) {
    Fate fate = Fate::commit;
    if (!fates_.empty()) {
        fate = fates_.front();
        fates_.pop_front();
    }
    Producer& producer = producers_[producer_];
    const std::uint64_t sequence = transaction.sequence;
    switch (fate) {
        case Fate::cut_before:
            return false;
        case Fate::late:
            late_.push_back(std::move(transaction));
            return false;
        case Fate::silent:
            return true;
        case Fate::refuse:
            producer.mark = std::max(producer.mark, sequence);
            producer.open.insert(sequence);
            refused(sequence, wire::Code::no_route);
            return true;
        case Fate::commit:
        case Fate::cut_after:
            break;
    }
    if (producer.open.count(sequence) != 0) {
        refused(sequence, wire::Code::transaction_over);
    } else if (sequence <= producer.mark) {
        confirm(sequence, sequence, true);
    } else if (sequence != producer.mark + 1) {
        refused(sequence, wire::Code::sequence_gap);
    } else {
        carry_out(transaction);
        changed_.notify_all();
        if (fate == Fate::cut_after) return false;
        confirm(sequence, sequence, false);
    }
    return true;
}

}  // namespace ferry::test
