#include "native/transactions.hpp"

#include <algorithm>
#include <iterator>

#include "ferry/platform/planted.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/verbs.hpp"
#include "native/core.hpp"
#include "native/decode.hpp"
#include "native/invented_name.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::size_t sent_max = 4096;
constexpr std::size_t sent_bytes_max = 16U << 20;
// A callback cannot wait for room. What it acks makes room for deliveries only when it is sent, so
// as many of its transactions may have to wait here as there are deliveries in its window.
constexpr std::size_t callback_max = sent_max + 16'384;
constexpr std::size_t callback_bytes_max = 4 * sent_bytes_max;
// In one frame: enough that its own cost does not count, few enough that the first is told soon.
constexpr std::size_t frame_transactions_max = 512;
constexpr std::size_t frame_bytes_aim = 256U << 10;
constexpr std::size_t frame_reserve = 512;
// What is kept of transactions that are over, so that new ones need no allocation.
constexpr std::size_t spare_max = sent_max;
constexpr std::size_t spare_message_bytes_max = 4U << 10;
constexpr std::size_t spare_parts_max = 8;
constexpr std::size_t spare_ranges_max = 64;

ClientError leases_lost() {
    return ClientError{errc_of(wire::Code::lease_lost), wire::Code::lease_lost,
                       "the leases of its deliveries were lost with their connection; nothing of "
                       "the transaction happened"};
}

bool contains(const std::vector<Range>& ranges, std::uint64_t sequence) {
    return std::any_of(ranges.begin(), ranges.end(), [sequence](const Range& range) {
        return range.first <= sequence && sequence <= range.last;
    });
}

void encode_part(wire::Encoder& out, std::uint64_t subscription, const std::vector<Range>& ranges,
                 bool reject) {
    out.array(3).uint(subscription);
    encode_ranges(ranges.data(), ranges.size(), out);
    out.boolean(reject);
}

void encode_parts(wire::Encoder& out, const TransactionState& state) {
    out.array(2).uint(state.count).array(state.wire_parts());
    for (const TransactionState::Part& part : state.parts()) {
        if (!part.acks.empty()) encode_part(out, part.subscription, part.acks, false);
        if (!part.rejects.empty()) encode_part(out, part.subscription, part.rejects, true);
    }
}

bool worth_keeping(const TransactionState& state) {
    return state.messages.capacity() <= spare_message_bytes_max &&
           state.parts().size() <= spare_parts_max && state.ranges <= spare_ranges_max;
}

}  // namespace

TransactionState::Part* TransactionState::part_of(std::uint64_t subscription) {
    const std::span<Part> used = std::span(parts_).first(parts_used_);
    const auto found = std::find_if(used.rbegin(), used.rend(), [&](const Part& part) {
        return part.subscription == subscription;
    });
    return found == used.rend() ? nullptr : &*found;
}

TransactionState::Part& TransactionState::add_part(std::uint64_t subscription) {
    if (parts_used_ == parts_.size()) parts_.emplace_back();
    Part& part = parts_[parts_used_++];
    part.subscription = subscription;
    return part;
}

std::uint32_t TransactionState::wire_parts() const {
    std::uint32_t count_of_them = 0;
    for (const Part& part : parts())
        count_of_them += (part.acks.empty() ? 0U : 1U) + (part.rejects.empty() ? 0U : 1U);
    return count_of_them;
}

void TransactionState::clear() {
    messages.clear();
    count = 0;
    for (Part& part : parts_) {
        part.acks.clear();
        part.rejects.clear();
    }
    parts_used_ = 0;
    ranges = 0;
    generation = 0;
    mandatory = true;
    done = nullptr;
}

Transactions::Transactions(Core& core)
    : core_(core), producer_(invented_name("tx-", core.random())) {}

// ---- applications ----

Transactions::Ptr Transactions::fresh() {
    {
        const std::lock_guard lock(mutex_);
        if (!spare_.empty()) {
            Ptr state = std::move(spare_.back());
            spare_.pop_back();
            return state;
        }
    }
    return std::make_unique<TransactionState>();
}

Status Transactions::submit(Ptr& state, bool may_wait, bool& wakes) {
    std::unique_lock lock(mutex_);
    const std::size_t count_max = may_wait ? sent_max : callback_max;
    const std::size_t bytes_max = may_wait ? sent_bytes_max : callback_bytes_max;
    const auto room = [&] { return over_ || (count_ < count_max && bytes_ < bytes_max); };
    if (!room()) {
        if (!may_wait) return Error{Errc::would_block, 0, 0, "too many transactions are under way"};
        changed_.wait(lock, room);
    }
    if (over_) return because_.error();
    ++count_;
    bytes_ += state->bytes();
    wakes = waiting_.empty();  // or somebody has done so, and all of them are taken at once
    waiting_.push_back(std::move(state));
    return ok_status();
}

Status Transactions::wait_idle(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_until(lock, deadline, [this] { return count_ == 0; })) return ok_status();
    return Error{Errc::would_block, 0, 0, "transactions are still under way"};
}

// Tells all that are in over_now_.
void Transactions::tell(const Answer<Committed>& outcome) {
    std::size_t bytes = 0;
    for (const Ptr& state : over_now_) {
        if (state->done) state->done(outcome);
        state->done = nullptr;  // not under the lock: it may own anything
        bytes += state->bytes();
        if (!worth_keeping(*state)) continue;
        state->clear();
    }
    const std::lock_guard lock(mutex_);
    count_ -= over_now_.size();
    bytes_ -= bytes;
    for (Ptr& state : over_now_) {
        if (spare_.size() < spare_max && state->empty()) spare_.push_back(std::move(state));
    }
    over_now_.clear();
    changed_.notify_all();
}

void Transactions::tell(Ptr state, const Answer<Committed>& outcome) {
    over_now_.push_back(std::move(state));
    tell(outcome);
}

// ---- the I/O thread ----

// All at once: whoever adds more must not wait meanwhile. False: there are none.
bool Transactions::take_more() {
    const std::lock_guard lock(mutex_);
    taken_.swap(waiting_);
    return !taken_.empty();
}

std::deque<Transactions::Ptr> Transactions::take_waiting() {
    std::deque<Ptr> all = std::exchange(taken_, {});
    if (take_more()) std::move(taken_.begin(), taken_.end(), std::back_inserter(all));
    taken_.clear();
    return all;
}

std::deque<Transactions::Ptr> Transactions::take_under_way() {
    std::deque<Ptr> taken;
    taken.swap(under_way_);
    sent_bytes_ = 0;
    return taken;
}

void Transactions::pump() {
    if (phase_ == Phase::opening) return;
    if (phase_ == Phase::closed) {
        {
            const std::lock_guard lock(mutex_);
            if (taken_.empty() && waiting_.empty() && under_way_.empty()) return;
        }
        return open_producer();
    }
    std::size_t bytes = sent_bytes_;
    do {
        while (!taken_.empty() && under_way_.size() + being_sent_.size() < sent_max &&
               bytes < sent_bytes_max) {
            bytes += taken_.front()->bytes();
            being_sent_.push_back(std::move(taken_.front()));
            taken_.pop_front();
        }
    } while (taken_.empty() && take_more());
    held_back_ = !taken_.empty();
    for (Ptr& state : being_sent_) {
        if (state->generation != 0 && state->generation != core_.generation())
            tell(std::move(state), leases_lost());
    }
    std::erase(being_sent_, nullptr);
    send(being_sent_);
    being_sent_.clear();
}

// As few frames as they fit into.
void Transactions::send(std::vector<Ptr>& states) {
    const std::size_t bytes_max = core_.frame_bytes_max();
    for (std::size_t begin = 0; begin < states.size();) {
        std::size_t bytes = frame_reserve;
        std::size_t messages = 0;
        std::size_t parts = 0;
        std::size_t ranges = 0;
        std::size_t end = begin;
        for (; end < states.size() && end - begin < frame_transactions_max; ++end) {
            const TransactionState& next = *states[end];
            bytes += next.bytes();
            messages += next.count;
            parts += next.wire_parts();
            ranges += next.ranges;
            const bool fits = bytes <= std::min(bytes_max, frame_bytes_aim) &&
                              messages <= limits::messages_per_frame_max &&
                              parts <= limits::transaction_parts_max &&
                              ranges <= limits::ranges_per_frame_max &&
                              next.mandatory == states[begin]->mandatory;
            if (!fits && end > begin) break;
        }
        send_frame(std::span(states).subspan(begin, end - begin));
        begin = end;
    }
}

void Transactions::send_frame(std::span<Ptr> states) {
    const std::uint64_t first = last_ + 1;
    const std::uint64_t settled = last_ - under_way_.size();
    wire::Buffer& buffer = core_.control();
    const std::size_t mark = wire::begin_frame(buffer, wire::Verb::transactions, 7);
    wire::Encoder out(buffer);
    out.uint(first).uint(handle_);
    out.uint(states.front()->mandatory ? wire::publish_mandatory : 0).uint(settled);
    out.array(static_cast<std::uint32_t>(states.size()));
    std::uint32_t messages = 0;
    for (const Ptr& state : states) {
        encode_parts(out, *state);
        messages += state->count;
    }
    out.array(messages);
    for (const Ptr& state : states) out.raw(state->messages);
    wire::end_frame(buffer, mark);
    last_ += states.size();
    for (Ptr& state : states) {
        sent_bytes_ += state->bytes();
        under_way_.push_back(std::move(state));
    }
}

// Brings what is under way of these sequences to over_now_. False: they were never sent.
bool Transactions::take(std::uint64_t first, std::uint64_t last) {
    const std::uint64_t before = last_ - under_way_.size();
    if (phase_ != Phase::open || first > last || last > last_ || first <= before) return false;
    for (std::uint64_t sequence = first; sequence <= last; ++sequence) {
        Ptr& state = under_way_[sequence - before - 1];
        if (state == nullptr) continue;
        sent_bytes_ -= state->bytes();
        over_now_.push_back(std::move(state));
    }
    if (held_back_) core_.wake();
    while (!under_way_.empty() && under_way_.front() == nullptr) under_way_.pop_front();
    return true;
}

bool Transactions::on_confirm(std::uint64_t first, std::uint64_t last, bool duplicate) {
    if (!take(first, last)) return false;
    tell(Committed{duplicate});
    return true;
}

bool Transactions::on_refused(std::uint64_t first, std::uint64_t last, const ClientError& why) {
    if (!take(first, last)) return false;
    tell(why);
    return true;
}

// ---- after a lost connection ----

void Transactions::lost() {
    phase_ = Phase::closed;
    handle_ = 0;
}

void Transactions::open_producer() {
    phase_ = Phase::opening;
    const RequestPtr request = core_.session_request(wire::Verb::producer, 2);
    wire::Encoder(request->fields).str(producer_).map(1).str("temporary").boolean(true);
    request->on_done = [this](const Request& answered) { on_producer(answered); };
    core_.send(request);
}

void Transactions::on_producer(const Request& answered) {
    if (phase_ != Phase::opening) return;
    ProducerAnswer answer;
    if (answered.failed || !decode_producer(answered.result, answer)) {
        const ClientError why = answered.failed
                                    ? answered.error
                                    : ClientError{Errc::indeterminate, wire::Code::ok,
                                                  "the broker's answer to producer is malformed"};
        phase_ = Phase::closed;
        for (Ptr& state : take_waiting()) tell(std::move(state), why);
        return;  // what is under way is looked up with the next attempt
    }
    handle_ = answer.producer;
    look_up(answer.mark, answer.open);
}

void Transactions::look_up(std::uint64_t mark, const std::vector<Range>& open) {
    if (mark == 0) {
        // New, or forgotten after ten minutes without a connection. The first sequence is never
        // used, so that the one cannot be taken for the other: a mark of 0 means nothing is known.
        for (Ptr& state : take_under_way()) {
            if (state == nullptr) continue;
            tell(std::move(state),
                 ClientError{Errc::indeterminate, wire::Code::ok,
                             "the connection was lost for so long that the broker does not know "
                             "this client's transactions any more"});
        }
        last_ = 1;
        return hold(mark);
    }
    if (under_way_.empty()) {
        // Without anything under way the numbers need not go on, only fit the broker's.
        last_ = mark;
        phase_ = Phase::open;
        return pump();
    }
    const bool trusting = FERRY_PLANTED("client-unseen-transaction-taken-for-done");
    if (last_ > mark && !trusting) return hold(mark);
    phase_ = Phase::open;
    std::uint64_t sequence = last_ - under_way_.size();
    std::vector<Ptr> again;
    for (Ptr& state : take_under_way()) {
        ++sequence;
        if (state == nullptr) continue;
        if (!contains(open, sequence)) {
            tell(std::move(state), Committed{true});
        } else if (state->generation != 0) {
            tell(std::move(state), leases_lost());
        } else {
            again.push_back(std::move(state));  // refused or held: a new number, and a new answer
        }
    }
    send(again);
    pump();
}

// What the broker has not taken is never to be taken: a frame of the old connection may still come.
void Transactions::hold(std::uint64_t mark) {
    const RequestPtr request = core_.session_request(wire::Verb::hold, 2);
    wire::Encoder(request->fields).uint(handle_).array(2).uint(mark + 1).uint(last_);
    request->on_done = [this](const Request& answered) { on_held(answered.failed); };
    core_.send(request);
}

void Transactions::on_held(bool) {
    if (phase_ != Phase::opening) return;
    // Whether it was held or (refused) the old connection's frame came first: the broker is asked
    // again what it has.
    open_producer();
}

void Transactions::abandon(const ClientError& because) {
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
        because_ = because;
        changed_.notify_all();
    }
    for (Ptr& state : take_waiting()) tell(std::move(state), because);
    for (Ptr& state : take_under_way()) {
        if (state == nullptr) continue;
        tell(std::move(state),
             ClientError{Errc::indeterminate, because.wire_code,
                         "the client was closed before the broker had answered: " + because.text});
    }
}

}  // namespace ferry::transport::native
