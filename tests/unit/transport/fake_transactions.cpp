// The transactions of the fake broker.

#include "fake_broker.hpp"

namespace ferry::test {

void FakeBroker::next_transactions(std::deque<Fate> fates) {
    const std::lock_guard lock(mutex_);
    fates_ = std::move(fates);
}

bool FakeBroker::read_transaction(wire::Cursor& cursor, Transaction& out) {
    std::uint64_t handle = 0;
    std::uint64_t flags = 0;
    std::uint64_t settled = 0;
    std::uint32_t count = 0;
    // The parts are skipped: this broker knows no leases.
    if (!cursor.read_uint(handle) || !cursor.read_uint(out.sequence) || !cursor.read_uint(flags) ||
        !cursor.read_uint(settled) || !cursor.skip() || !cursor.read_array(count)) {
        return false;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        wire::MessageView message;
        if (!wire::read_message(cursor, message)) return false;
        out.payloads.emplace_back(as_text(message.payload));
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

void FakeBroker::answer_transaction(std::uint64_t request, bool duplicate) {
    wire::Buffer out;
    const std::size_t mark = wire::begin_frame(out, wire::Verb::ok, 3);
    wire::Encoder(out).uint(request).map(1).str("duplicate").boolean(duplicate);
    wire::end_frame(out, mark);
    send(out);
}

bool FakeBroker::handle_transaction(const wire::FrameHead& head, wire::Cursor& cursor) {
    Transaction transaction;
    transaction.producer = producer_;
    if (!read_transaction(cursor, transaction)) return false;
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
            answer_error(head.request, wire::Code::no_route);
            return true;
        case Fate::commit:
        case Fate::cut_after:
            break;
    }
    if (producer.open.count(sequence) != 0) {
        answer_error(head.request, wire::Code::transaction_over);
    } else if (sequence <= producer.mark) {
        answer_transaction(head.request, true);
    } else if (sequence != producer.mark + 1) {
        answer_error(head.request, wire::Code::sequence_gap);
    } else {
        carry_out(transaction);
        changed_.notify_all();
        if (fate == Fate::cut_after) return false;
        answer_transaction(head.request, false);
    }
    return true;
}

}  // namespace ferry::test
