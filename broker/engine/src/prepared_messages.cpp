#include "prepared.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"
#include "ferry/wire/message.hpp"
#include "timer_list.hpp"

namespace ferry::engine {
namespace {

// The steady clock never gets there.
constexpr std::uint64_t moment_max = TimerList::due_max;

std::uint64_t due(const PreparedMessages::Kept& kept) {
    return std::max(kept.prepared.next_check, kept.again);
}

bool printable(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7f;
    });
}

}  // namespace

PreparedMessages::Kept* PreparedMessages::find(std::string_view id) {
    const auto at = all_.find(id);
    return at == all_.end() ? nullptr : &at->second;
}

const PreparedMessages::Decision* PreparedMessages::decision(std::string_view id) const {
    const auto at = decisions_.find(id);
    return at == decisions_.end() ? nullptr : &at->second;
}

bool PreparedMessages::has_room(std::size_t message_bytes) const {
    return all_.size() < limits::prepared_max &&
           bytes_ + message_bytes <= limits::prepared_bytes_max;
}

void PreparedMessages::arm(const Kept& kept) {
    if (!kept.prepared.parked) alarms_.insert({due(kept), kept.prepared.id});
}

void PreparedMessages::disarm(const Kept& kept) {
    alarms_.erase({due(kept), kept.prepared.id});
}

PreparedMessages::Kept& PreparedMessages::add(Prepared prepared) {
    const std::string id = prepared.id;
    const auto [at, fresh] = all_.try_emplace(id);
    FERRY_ASSERT(fresh, "an id is prepared once");
    Kept& kept = at->second;
    kept.prepared = std::move(prepared);
    bytes_ += kept.prepared.message.size();
    parked_ += kept.prepared.parked ? 1U : 0U;
    arm(kept);
    return kept;
}

void PreparedMessages::remember(std::string id, const Decision& decision, std::uint64_t steady_ms) {
    while (!decided_.empty() &&
           (decided_.size() >= limits::prepared_decisions_max ||
            decided_.front().steady_ms + limits::prepared_decisions_ms <= steady_ms)) {
        decisions_.erase(decided_.front().id);
        decided_.pop_front();
    }
    decisions_[id] = decision;
    decided_.push_back({std::move(id), steady_ms});
}

void PreparedMessages::decide(const std::string& id, bool submitted, std::uint64_t steady_ms,
                              std::uint64_t wall_ms) {
    const auto at = all_.find(id);
    FERRY_ASSERT(at != all_.end(), "what is decided was prepared");
    std::string kept_id = at->first;  // `id` may be the entry's own
    disarm(at->second);
    bytes_ -= at->second.prepared.message.size();
    parked_ -= at->second.prepared.parked ? 1U : 0U;
    all_.erase(at);
    remember(std::move(kept_id), {submitted, wall_ms}, steady_ms);
}

void PreparedMessages::asked(Kept& kept, std::uint64_t wall_ms, std::uint64_t next_check) {
    disarm(kept);
    kept.again = 0;
    kept.unasked = Unasked::none;
    ++kept.prepared.checks;
    ++kept.prepared.asked;
    kept.prepared.asked_ms = wall_ms;
    kept.prepared.next_check = next_check;
    arm(kept);
}

void PreparedMessages::park(Kept& kept) {
    disarm(kept);
    parked_ += kept.prepared.parked ? 0U : 1U;
    kept.prepared.parked = true;
    kept.unasked = Unasked::none;
}

void PreparedMessages::resume(Kept& kept, std::uint64_t steady_ms) {
    disarm(kept);
    parked_ -= kept.prepared.parked ? 1U : 0U;
    kept.prepared.parked = false;
    kept.prepared.checks = 0;
    kept.prepared.next_check = steady_ms;
    kept.again = 0;
    kept.unasked = Unasked::none;
    arm(kept);
}

void PreparedMessages::try_again(Kept& kept, Unasked unasked, std::uint64_t steady_ms) {
    disarm(kept);
    kept.again = steady_ms;
    kept.unasked = unasked;
    arm(kept);
}

const std::pair<std::uint64_t, std::string>* PreparedMessages::next() const {
    return alarms_.empty() ? nullptr : &*alarms_.begin();
}

void PreparedMessages::save(std::vector<std::byte>& out) const {
    put_varint(out, all_.size());
    for (const auto& [id, kept] : all_) {
        const Prepared& p = kept.prepared;
        put_prepared(out, p);
        put_varint(out, p.next_check);
        put_varint(out, p.checks);
        put_varint(out, p.asked);
        put_varint(out, p.asked_ms);
        put_u8(out, p.parked ? 1 : 0);
    }
    put_varint(out, decided_.size());
    for (const Decided& decided : decided_) {
        const Decision& decision = decisions_.find(decided.id)->second;
        put_text(out, decided.id);
        put_u8(out, decision.submitted ? 1 : 0);
        put_varint(out, decision.wall_ms);
        put_varint(out, decided.steady_ms);
    }
}

bool PreparedMessages::load(Reader& in) {
    for (std::size_t count = in.count(20); count > 0 && in.ok(); --count) {
        Prepared p = get_prepared(in);
        p.next_check = in.bounded<std::uint64_t>(moment_max);
        p.checks = in.bounded<std::uint32_t>(limits::max_checks_max);
        p.asked = in.bounded<std::uint32_t>(UINT32_MAX - 1);
        p.asked_ms = in.varint();
        p.parked = in.u8() != 0;
        if (in.ok() && (find(p.id) != nullptr || !has_room(p.message.size()))) in.reject();
        if (in.ok()) add(std::move(p));
    }
    for (std::size_t count = in.count(4); count > 0 && in.ok(); --count) {
        std::string id(in.text());
        Decision decision;
        decision.submitted = in.u8() != 0;
        decision.wall_ms = in.varint();
        const auto steady = in.bounded<std::uint64_t>(moment_max);
        if (decisions_.count(id) != 0 || find(id) != nullptr) in.reject();
        if (!in.ok() || decided_.size() >= limits::prepared_decisions_max) return false;
        decisions_[id] = decision;
        decided_.push_back({std::move(id), steady});
    }
    return in.ok();
}

// ---- one of them ----

std::string complaint_of(const Prepared& p) {
    if (p.id.empty() || p.id.size() > limits::prepared_id_bytes_max || !printable(p.id))
        return "a prepared message's id has 1 to 200 bytes and no control characters";
    if (p.producer.size() > limits::short_text_bytes_max || !printable(p.producer))
        return "a producer's name has at most 255 bytes and no control characters";
    if (!wire::valid_name(p.check_queue)) return "name the queue in which the broker is to ask";
    if (p.check_after_ms < limits::check_after_ms_min ||
        p.check_after_ms > limits::check_after_ms_max)
        return "the first check comes after 100 ms to 7 days (604800000 ms)";
    if (p.max_checks == 0 || p.max_checks > limits::max_checks_max)
        return "there are 1 to 1000 checks";
    wire::Cursor cursor(p.message);
    wire::MessageView message;
    if (!wire::read_message(cursor, message) || !cursor.at_end()) return "the message is malformed";
    return {};
}

void put_prepared(std::vector<std::byte>& out, const Prepared& p) {
    put_text(out, p.id);
    put_text(out, p.producer);
    put_text(out, p.check_queue);
    put_varint(out, p.check_after_ms);
    put_varint(out, p.max_checks);
    put_varint(out, p.prepared_ms);
    put_text(out, as_text(p.message));
}

Prepared get_prepared(Reader& in) {
    Prepared p;
    p.id = in.text();
    p.producer = in.text();
    p.check_queue = in.text();
    p.check_after_ms = in.varint();
    p.max_checks = in.bounded<std::uint32_t>(limits::max_checks_max);
    p.prepared_ms = in.varint();
    const Bytes message = as_bytes(in.text());
    p.message.assign(message.begin(), message.end());
    if (in.ok() && !complaint_of(p).empty()) in.reject();
    return p;
}

std::uint64_t distance_ms(const Prepared& p, std::uint32_t checks) {
    const std::uint64_t most = std::max(p.check_after_ms, limits::check_distance_ms_max);
    std::uint64_t distance = p.check_after_ms;
    for (std::uint32_t i = 0; i < checks && distance < most; ++i) distance *= 2;
    return std::min(distance, most);
}

}  // namespace ferry::engine
