#include "producers.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "records.hpp"

namespace ferry::engine {

void SequenceSet::add(Range<Sequence> range) {
    auto at = ranges_.upper_bound(range.first);
    if (at != ranges_.begin() && std::prev(at)->second + 1 >= range.first) --at;
    while (at != ranges_.end() && at->first <= range.last + 1) {
        range.first = std::min(range.first, at->first);
        range.last = std::max(range.last, at->second);
        size_ -= at->second - at->first + 1;
        at = ranges_.erase(at);
    }
    ranges_.emplace(range.first, range.last);
    size_ += range.last - range.first + 1;
}

bool SequenceSet::contains(Sequence sequence) const {
    const auto at = ranges_.upper_bound(sequence);
    return at != ranges_.begin() && std::prev(at)->second >= sequence;
}

bool SequenceSet::remove(Sequence sequence) {
    auto at = ranges_.upper_bound(sequence);
    if (at == ranges_.begin() || (--at)->second < sequence) return false;
    const Sequence last = at->second;
    if (at->first == sequence) {
        ranges_.erase(at);
    } else {
        at->second = sequence - 1;
    }
    if (last > sequence) ranges_.emplace(sequence + 1, last);
    --size_;
    return true;
}

void SequenceSet::remove_upto(Sequence last) {
    while (!ranges_.empty() && ranges_.begin()->first <= last) {
        const Range<Sequence> range{ranges_.begin()->first, ranges_.begin()->second};
        ranges_.erase(ranges_.begin());
        size_ -= std::min(range.last, last) - range.first + 1;
        if (range.last > last) ranges_.emplace(last + 1, range.last);
    }
}

std::vector<Range<Sequence>> SequenceSet::ranges() const {
    std::vector<Range<Sequence>> all;
    for (const auto& [first, last] : ranges_) all.push_back({first, last});
    return all;
}

Producer* Producers::find(std::string_view name) {
    const auto at = by_name_.find(name);
    return at == by_name_.end() ? nullptr : find(at->second);
}
Producer* Producers::find(std::uint64_t number) {
    const auto at = by_number_.find(number);
    return at == by_number_.end() ? nullptr : &at->second;
}

Producer& Producers::put(std::uint64_t number, std::string_view name, std::uint64_t epoch,
                         bool temporary) {
    Producer& producer = by_number_[number];
    if (producer.number == 0) {
        producer.number = number;
        producer.name = name;
        by_name_[producer.name] = number;
        next_number_ = std::max(next_number_, number + 1);
        producer.epoch = epoch;
    }
    if (producer.epoch != epoch) {
        producer.epoch = epoch;
        producer.mark = 0;
        producer.open.clear();
    }
    producer.temporary = temporary;
    return producer;
}

void Producers::forget(std::uint64_t number) {
    const auto at = by_number_.find(number);
    if (at == by_number_.end()) return;
    by_name_.erase(at->second.name);
    by_number_.erase(at);
}

void Producers::advance(Producer& producer, Sequence first, std::uint64_t count, Sequence settled) {
    FERRY_ASSERT(count > 0, "a record takes at least one sequence");
    const Sequence last = first + count - 1;
    if (last > producer.mark) {
        // What lies between was held or refused; it stays as the records before said.
        producer.mark = last;
    }
    if (producer.open.size() > 0) {
        for (Sequence s = first; s <= last && producer.open.size() > 0; ++s)
            producer.open.remove(s);
        producer.open.remove_upto(settled);
    }
}

void Producers::save(std::vector<std::byte>& out) const {
    put_varint(out, next_number_);
    put_varint(out, by_number_.size());
    for (const auto& [number, p] : by_number_) {
        put_varint(out, number);
        put_text(out, p.name);
        put_varint(out, p.epoch);
        put_varint(out, p.mark);
        put_u8(out, p.temporary ? 1 : 0);
        put_varint(out, 0);  // once when it was used last, by the wall clock
        put_ranges(out, p.open.ranges());
    }
}

bool Producers::load(Reader& in) {
    next_number_ = in.varint();
    const std::size_t count = in.count(7);
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const std::uint64_t number = in.varint();
        const std::string name(in.text());
        const std::uint64_t epoch = in.varint();
        const Sequence mark = in.varint();
        const bool temporary = in.u8() != 0;
        in.varint();
        const auto open = get_ranges(in);
        if (!in.ok() || number == 0 || find(number) != nullptr || find(name) != nullptr) {
            in.reject();
            break;
        }
        Producer& p = put(number, name, epoch, temporary);
        p.mark = mark;
        for (const auto& range : open) p.open.add(range);
    }
    return in.ok();
}

}  // namespace ferry::engine
