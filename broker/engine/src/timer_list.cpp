#include "timer_list.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"

namespace ferry::engine {
namespace {
constexpr std::size_t block_entries = 256;
constexpr std::uint32_t attempts_max = UINT16_MAX;
}  // namespace

// The block whose range holds `key`: the last that begins at or before it, or the first of all.
TimerList::Blocks::iterator TimerList::block_of(const Key& key) {
    auto at = blocks_.upper_bound(key);
    return at == blocks_.begin() ? at : std::prev(at);
}

void TimerList::insert(const Entry& entry) {
    const Key key = entry.key();
    messages_ += entry.extent.count;
    bytes_ += entry.extent.bytes;
    ++entries_;
    if (blocks_.empty()) {
        blocks_[key].push_back(entry);
        return;
    }
    auto block = block_of(key);
    if (key < block->first) {
        // Before all others: the first block's bound moves down.
        auto node = blocks_.extract(block);
        node.key() = key;
        block = blocks_.insert(std::move(node)).position;
    }
    if (block->second.size() >= block_entries) {
        Block& full = block->second;
        // Most timers are set in order of their time: then the full block stays full.
        const bool behind_all = std::next(block) == blocks_.end() && full.back().key() < key;
        if (behind_all) {
            blocks_[key].push_back(entry);
            return;
        }
        const auto middle = full.begin() + block_entries / 2;
        Block upper(middle, full.end());
        full.erase(middle, full.end());
        const Key bound = upper.front().key();
        const auto next = blocks_.emplace(bound, std::move(upper)).first;
        if (!(key < bound)) block = next;
    }
    Block& entries = block->second;
    const auto at = std::partition_point(entries.begin(), entries.end(),
                                         [&](const Entry& e) { return e.key() < key; });
    entries.insert(at, entry);
}

bool TimerList::contains(const Key& key) const {
    auto at = blocks_.upper_bound(key);
    if (at == blocks_.begin()) return false;
    --at;
    const auto found = std::partition_point(at->second.begin(), at->second.end(),
                                            [&](const Entry& e) { return e.key() < key; });
    return found != at->second.end() && found->key() == key;
}

TimerList::Entry TimerList::remove(Blocks::iterator block, std::size_t at) {
    Block& entries = block->second;
    const Entry taken = entries[at];
    entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(at));
    if (entries.empty()) blocks_.erase(block);
    messages_ -= taken.extent.count;
    bytes_ -= taken.extent.bytes;
    --entries_;
    return taken;
}

bool TimerList::add(std::uint64_t due, std::uint32_t attempts, const Extent& extent) {
    if (due > due_max) return false;
    Entry entry;
    entry.due = due & due_max;
    entry.attempts = std::min(attempts, attempts_max) & attempts_max;
    entry.extent = extent;
    if (!blocks_.empty()) {
        const Block& near = block_of(entry.key())->second;
        const auto same = std::partition_point(
            near.begin(), near.end(), [&](const Entry& e) { return e.key() < entry.key(); });
        if (same != near.end() && same->key() == entry.key()) return false;
    }
    insert(entry);
    return true;
}

TimerList::Entry TimerList::pop_front() {
    FERRY_ASSERT(!blocks_.empty(), "there is a timer to take");
    return remove(blocks_.begin(), 0);
}

TimerList::Key TimerList::last_due(std::uint64_t now, std::size_t most) const {
    Key last;
    std::size_t seen = 0;
    for (const auto& [bound, block] : blocks_) {
        for (const Entry& entry : block) {
            if (entry.due > now || seen == most) return last;
            last = entry.key();
            ++seen;
        }
    }
    return last;
}

std::optional<TimerList::Entry> TimerList::take(std::uint64_t due, Position position) {
    if (blocks_.empty() || due > due_max) return std::nullopt;
    // The run that holds the position is the last one that begins at or before it.
    const Key key{due, position};
    const auto block = block_of(key);
    const Block& entries = block->second;
    const auto after = std::partition_point(entries.begin(), entries.end(),
                                            [&](const Entry& e) { return !(key < e.key()); });
    if (after == entries.begin()) return std::nullopt;
    const auto at = static_cast<std::size_t>(std::prev(after) - entries.begin());
    if (entries[at].due != due || entries[at].extent.end() <= position) return std::nullopt;
    Entry whole = remove(block, at);
    const auto skip = static_cast<std::uint32_t>(position - whole.extent.first);
    const std::uint32_t behind = whole.extent.count - skip - 1;
    Entry part = whole;
    const auto put_back = [&](std::uint32_t from, std::uint32_t count) {
        if (count == 0) return;
        part.extent = part_of(whole.extent, from, count);
        insert(part);
    };
    put_back(0, skip);
    put_back(skip + 1, behind);
    whole.extent = part_of(whole.extent, skip, 1);
    return whole;
}

void TimerList::clear() {
    blocks_.clear();
    messages_ = entries_ = bytes_ = 0;
}

void TimerList::save(std::vector<std::byte>& out) const {
    put_varint(out, entries_);
    std::uint64_t due = 0;
    Position end = 0;
    visit([&](const Entry& e) {
        put_varint(out, e.due - due);
        put_varint(out, e.attempts);
        put_extent(out, e.extent, end);
        due = e.due;
        end = e.extent.end();
    });
}

bool TimerList::load(Reader& in) {
    const std::size_t count = in.count(7);
    std::uint64_t due = 0;
    Position end = 0;
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const auto step = in.bounded<std::uint64_t>(due_max - due);
        const auto attempts = in.bounded<std::uint32_t>(attempts_max);
        const Extent extent = get_extent(in, end);
        due += step;
        end = extent.end();
        if (!plausible(extent) || !in.ok() || !add(due, attempts, extent)) in.reject();
    }
    return in.ok();
}

}  // namespace ferry::engine
