#include "native/transactions.hpp"

#include <algorithm>

#include "ferry/platform/random.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/verbs.hpp"
#include "native/core.hpp"
#include "native/decode.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::size_t under_way_max = 4096;
constexpr std::size_t under_way_bytes_max = 16U << 20;

std::string random_name() {
    static constexpr char digits[] = "0123456789abcdef";
    std::string name = "tx-";
    for (int word = 0; word < 2; ++word) {
        std::uint64_t bits = system_random().next();
        for (int i = 0; i < 16; ++i, bits >>= 4) name.push_back(digits[bits & 15]);
    }
    return name;
}

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

bool decode_duplicate(Bytes result, bool& duplicate) {
    wire::Cursor cursor(result);
    std::uint32_t count = 0;
    if (!cursor.read_map(count)) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view key;
        if (!cursor.read_str(key)) return false;
        if (key != "duplicate") {
            if (!cursor.skip()) return false;
        } else if (!cursor.read_bool(duplicate)) {
            return false;
        }
    }
    return true;
}

}  // namespace

Transactions::Transactions(Core& core) : core_(core), producer_(random_name()) {}

// ---- applications ----

Status Transactions::submit(Ptr& state, bool may_wait) {
    std::unique_lock lock(mutex_);
    const auto room = [this] {
        return over_ || (count_ < under_way_max && bytes_ < under_way_bytes_max);
    };
    if (!room()) {
        if (!may_wait) return Error{Errc::would_block, 0, 0, "too many transactions are under way"};
        changed_.wait(lock, room);
    }
    if (over_) return because_.error();
    ++count_;
    bytes_ += state->bytes();
    waiting_.push_back(std::move(state));
    return ok_status();
}

Status Transactions::wait_idle(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_until(lock, deadline, [this] { return count_ == 0; })) return ok_status();
    return Error{Errc::would_block, 0, 0, "transactions are still under way"};
}

void Transactions::tell(Ptr state, const Answer<Committed>& outcome) {
    if (state->done) state->done(outcome);
    const std::lock_guard lock(mutex_);
    --count_;
    bytes_ -= state->bytes();
    changed_.notify_all();
}

// ---- the I/O thread ----

std::vector<Transactions::Ptr> Transactions::take_waiting() {
    std::vector<Ptr> taken;
    const std::lock_guard lock(mutex_);
    for (Ptr& state : waiting_) taken.push_back(std::move(state));
    waiting_.clear();
    return taken;
}

void Transactions::pump() {
    if (phase_ == Phase::opening) return;
    if (phase_ == Phase::closed) {
        {
            const std::lock_guard lock(mutex_);
            if (waiting_.empty() && under_way_.empty()) return;
        }
        return open_producer();
    }
    for (Ptr& state : take_waiting()) {
        if (state->generation != 0 && state->generation != core_.generation()) {
            tell(std::move(state), leases_lost());
        } else {
            send(std::move(state));
        }
    }
}

void Transactions::send(Ptr state) {
    const std::uint64_t sequence = ++last_;
    const std::uint64_t first_open = under_way_.empty() ? sequence : under_way_.begin()->first;
    const RequestPtr request = core_.session_request(wire::Verb::transaction, 6);
    request->fields.reserve(state->bytes());
    wire::Encoder out(request->fields);
    out.uint(handle_).uint(sequence);
    out.uint(state->mandatory ? wire::publish_mandatory : 0).uint(first_open - 1);
    std::uint32_t parts = 0;
    for (const auto& [id, part] : state->parts)
        parts += (part.acks.empty() ? 0U : 1U) + (part.rejects.empty() ? 0U : 1U);
    out.array(parts);
    for (const auto& [id, part] : state->parts) {
        if (!part.acks.empty()) encode_part(out, id, part.acks, false);
        if (!part.rejects.empty()) encode_part(out, id, part.rejects, true);
    }
    out.array(state->count).raw(state->messages);
    request->on_done = [this, sequence](const Request& answered) { on_answer(sequence, answered); };
    under_way_.emplace(sequence, std::move(state));
    core_.send(request);
    request->fields = {};  // what may have to be sent again is kept as it was given
}

void Transactions::on_answer(std::uint64_t sequence, const Request& answered) {
    auto node = under_way_.extract(sequence);
    if (node.empty()) return;
    if (answered.failed) return tell(std::move(node.mapped()), answered.error);
    Committed committed;
    if (!decode_duplicate(answered.result, committed.found_again)) {
        return tell(std::move(node.mapped()),
                    ClientError{Errc::indeterminate, wire::Code::ok,
                                "the broker's answer to a transaction is malformed"});
    }
    tell(std::move(node.mapped()), committed);
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
        std::map<std::uint64_t, Ptr> unknown;
        unknown.swap(under_way_);
        for (auto& [sequence, state] : unknown) {
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
    if (last_ > mark) return hold(mark);
    phase_ = Phase::open;
    std::map<std::uint64_t, Ptr> found;
    found.swap(under_way_);
    std::vector<Ptr> again;
    for (auto& [sequence, state] : found) {
        if (!contains(open, sequence)) {
            tell(std::move(state), Committed{true});
        } else if (state->generation != 0) {
            tell(std::move(state), leases_lost());
        } else {
            again.push_back(std::move(state));  // refused or held: a new number, and a new answer
        }
    }
    for (Ptr& state : again) send(std::move(state));
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
    std::map<std::uint64_t, Ptr> left;
    left.swap(under_way_);
    for (auto& [sequence, state] : left) {
        tell(std::move(state),
             ClientError{Errc::indeterminate, because.wire_code,
                         "the client was closed before the broker had answered: " + because.text});
    }
}

}  // namespace ferry::transport::native
