#include "timer_list.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"

namespace ferry::engine {
namespace {
constexpr std::size_t block_entries = 512;
constexpr std::uint32_t attempts_max = UINT16_MAX;
}  // namespace

// The block whose range holds `key`: the last that begins at or before it, or the first of all.
TimerList::Blocks::iterator TimerList::block_of(const Key& key) const {
    auto at = blocks_.upper_bound(key);
    return at == blocks_.begin() ? at : std::prev(at);
}

void TimerList::sort(Block& block) {
    if (block.sorted == block.entries.size()) return;
    const auto before = [](const Entry& a, const Entry& b) { return a.key() < b.key(); };
    const auto middle = block.entries.begin() + static_cast<std::ptrdiff_t>(block.sorted);
    std::sort(middle, block.entries.end(), before);
    std::inplace_merge(block.entries.begin(), middle, block.entries.end(), before);
    block.sorted = block.entries.size();
}

std::size_t TimerList::lower_bound(const Block& block, const Key& key) {
    const auto begin = block.entries.begin();
    const auto at =
        std::partition_point(begin + static_cast<std::ptrdiff_t>(block.head), block.entries.end(),
                             [&](const Entry& e) { return e.key() < key; });
    return static_cast<std::size_t>(at - begin);
}

void TimerList::insert_sorted(Block& block, const Entry& entry) {
    // What was taken off the front is dropped when it is as much as what is left.
    if (block.head > 0 && block.head >= block.size()) {
        block.entries.erase(block.entries.begin(),
                            block.entries.begin() + static_cast<std::ptrdiff_t>(block.head));
        block.head = 0;
    }
    const auto at = static_cast<std::ptrdiff_t>(lower_bound(block, entry.key()));
    block.entries.insert(block.entries.begin() + at, entry);
    block.sorted = block.entries.size();
}

// Makes room in a full block; returns the one that `key` belongs into now.
TimerList::Blocks::iterator TimerList::split(Blocks::iterator block, const Key& key) {
    Block& full = block->second;
    const bool sorted = full.sorted == full.entries.size();
    // Most retries are set in order of their time: then the full block stays full.
    if (sorted && std::next(block) == blocks_.end() && full.entries.back().key() < key)
        return blocks_.emplace(key, Block{}).first;
    full.entries.erase(full.entries.begin(),
                       full.entries.begin() + static_cast<std::ptrdiff_t>(full.head));
    full.head = 0;
    const auto middle = full.entries.begin() + static_cast<std::ptrdiff_t>(full.entries.size() / 2);
    if (!sorted) {
        std::nth_element(full.entries.begin(), middle, full.entries.end(),
                         [](const Entry& a, const Entry& b) { return a.key() < b.key(); });
    }
    Block upper;
    upper.entries.reserve(block_entries);
    upper.entries.assign(middle, full.entries.end());
    full.entries.erase(middle, full.entries.end());
    upper.sorted = sorted ? upper.entries.size() : 0;
    full.sorted = sorted ? full.entries.size() : 0;
    const Key bound = upper.entries.front().key();
    const auto next = blocks_.emplace(bound, std::move(upper)).first;
    return key < bound ? block : next;
}

// `block`: block_of() the entry.
void TimerList::insert(const Entry& entry, Blocks::iterator block) {
    const Key key = entry.key();
    messages_ += entry.extent.count;
    bytes_ += entry.extent.bytes;
    newest_ = std::max(newest_, key.first);
    ++entries_;
    if (block == blocks_.end()) {
        block = blocks_.emplace(key, Block{}).first;
    } else if (key < block->first) {
        // Before all others: the first block's bound moves down.
        auto node = blocks_.extract(block);
        node.key() = key;
        block = blocks_.insert(std::move(node)).position;
    }
    if (block->second.size() >= block_entries) block = split(block, key);
    Block& into = block->second;
    if (block == blocks_.begin()) return insert_sorted(into, entry);
    const bool in_order = into.sorted == into.entries.size() &&
                          (into.entries.empty() || into.entries.back().key() < key);
    into.entries.push_back(entry);
    if (in_order) ++into.sorted;
}

bool TimerList::contains(const Key& key) const {
    if (blocks_.empty()) return false;
    Block& block = block_of(key)->second;
    sort(block);
    const std::size_t at = lower_bound(block, key);
    return at < block.entries.size() && block.entries[at].key() == key;
}

TimerList::Entry TimerList::remove(Blocks::iterator block, std::size_t at) {
    Block& from = block->second;
    const Entry taken = from.entries[at];
    if (at == from.head && block == blocks_.begin()) {
        ++from.head;
    } else {
        from.entries.erase(from.entries.begin() + static_cast<std::ptrdiff_t>(at));
        from.sorted = from.entries.size();
    }
    if (from.size() == 0) {
        blocks_.erase(block);
        if (!blocks_.empty()) sort(blocks_.begin()->second);
    }
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
    // What is newer than all others needs no look into its block.
    if (extent.first <= newest_ && contains(entry.key())) return false;
    insert(entry, block_of(entry.key()));
    return true;
}

TimerList::Entry TimerList::pop_front() {
    FERRY_ASSERT(!blocks_.empty(), "there is a timer to take");
    return remove(blocks_.begin(), blocks_.begin()->second.head);
}

TimerList::Key TimerList::last_due(std::uint64_t now, std::size_t most) const {
    Key last;
    std::size_t seen = 0;
    for (auto& [bound, block] : blocks_) {
        if (bound.due > now) return last;
        sort(block);
        for (std::size_t i = block.head; i < block.entries.size(); ++i) {
            const Entry& entry = block.entries[i];
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
    sort(block->second);
    const std::vector<Entry>& entries = block->second.entries;
    std::size_t at = lower_bound(block->second, key);
    if (at == entries.size() || key < entries[at].key()) {
        if (at == block->second.head) return std::nullopt;
        --at;
    }
    if (entries[at].due != due || entries[at].extent.end() <= position) return std::nullopt;
    Entry whole = remove(block, at);
    const auto skip = static_cast<std::uint32_t>(position - whole.extent.first);
    const std::uint32_t behind = whole.extent.count - skip - 1;
    Entry part = whole;
    const auto put_back = [&](std::uint32_t from, std::uint32_t count) {
        if (count == 0) return;
        part.extent = part_of(whole.extent, from, count);
        insert(part, block_of(part.key()));
    };
    put_back(0, skip);
    put_back(skip + 1, behind);
    whole.extent = part_of(whole.extent, skip, 1);
    return whole;
}

void TimerList::clear() {
    blocks_.clear();
    messages_ = entries_ = bytes_ = newest_ = 0;
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
