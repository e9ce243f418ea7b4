#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aside_list.hpp"
#include "ferry/engine/types.hpp"
#include "key_hint.hpp"

namespace ferry::engine {

/// The keys of an ordered queue that are held, each in a place of its own as long as it is held,
/// and a table with open addressing that finds them. Key numbers are hashes already. Nobody walks
/// it, so the order of what lies in it matters to nothing.
///
/// Whoever has a message of a key may keep the key's KeyHint, which saves the search. A hint that
/// is wrong by now costs the search and nothing else.
///
/// Threads   The engine's. References hold until the next key is added.
/// Memory    32 bytes per key, and 8 per entry of the table, of which at least a quarter are used
///           when it has just grown; it keeps the size for as many keys as were held at once, until
///           clear().
class HeldKeys {
public:
    static constexpr KeyHint none = no_key_hint;
    static constexpr Position nobody = UINT64_MAX;
    struct Held {
        Position by = 0;             // nobody: it is here only because it is `listed`
        KeyNumber key = 0;           // 0: nothing lies here
        AsideList::Place place = 0;  // where `by` lies aside, if it is offered
        std::uint32_t first = none;  // entries of those that wait
        std::uint32_t last = none;
        KeyHint next = none;  // in a list of those that are `listed`, or of free places
        bool listed = false;
        bool offered = false;
    };

    HeldKeys() { clear(); }

    /// none: nobody holds it.
    [[nodiscard]] KeyHint find(KeyNumber key) const { return table_[seek(key)].at; }
    [[nodiscard]] KeyHint find(KeyNumber key, KeyHint hint) const {
        return hint < held_.size() && held_[hint].key == key ? hint : find(key);
    }
    [[nodiscard]] Held& operator[](KeyHint at) { return held_[at]; }
    [[nodiscard]] const Held& operator[](KeyHint at) const { return held_[at]; }
    /// Requires a key that is not 0 and not here.
    KeyHint add(KeyNumber key, Position by) {
        if ((size_ + 1) * 2 > table_.size()) grow();
        ++size_;
        KeyHint at = free_;
        if (at == none) {
            at = static_cast<KeyHint>(held_.size());
            held_.emplace_back();
        } else {
            free_ = held_[at].next;
        }
        held_[at] = Held{};
        held_[at].by = by;
        held_[at].key = key;
        table_[seek(key)] = {key, at};
        return at;
    }
    /// Requires what find() or add() gave.
    void remove(KeyHint at) {
        std::size_t gap = seek(held_[at].key);
        // What lies behind it moves up if its search began at or before the gap.
        for (std::size_t next = after(gap); table_[next].key != 0; next = after(next)) {
            const std::size_t from_home = (next - home(table_[next].key)) & (table_.size() - 1);
            const std::size_t from_gap = (next - gap) & (table_.size() - 1);
            if (from_home < from_gap) continue;
            table_[gap] = table_[next];
            gap = next;
        }
        table_[gap] = Entry{};
        held_[at] = Held{};
        held_[at].next = free_;
        free_ = at;
        --size_;
    }
    void clear() {
        table_.assign(table_min, Entry{});
        table_.shrink_to_fit();
        held_.clear();
        held_.shrink_to_fit();
        free_ = none;
        size_ = 0;
    }
    [[nodiscard]] std::size_t size() const { return size_; }

private:
    static constexpr std::size_t table_min = 64;  // a power of two, as all later sizes
    struct Entry {
        KeyNumber key = 0;  // 0: free
        KeyHint at = none;
    };

    // The lowest bits say the slot, and a consumer has many keys of few slots: all bits count.
    [[nodiscard]] std::size_t home(KeyNumber key) const {
        return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ULL) >> 32U) & (table_.size() - 1);
    }
    [[nodiscard]] std::size_t after(std::size_t at) const { return (at + 1) & (table_.size() - 1); }
    [[nodiscard]] std::size_t seek(KeyNumber key) const {
        std::size_t at = home(key);
        while (table_[at].key != 0 && table_[at].key != key) at = after(at);
        return at;
    }
    void grow() {
        std::vector<Entry> old(table_.size() * 2);
        old.swap(table_);
        for (const Entry& entry : old) {
            if (entry.key != 0) table_[seek(entry.key)] = entry;
        }
    }

    std::vector<Entry> table_;
    std::vector<Held> held_;
    KeyHint free_ = none;
    std::size_t size_ = 0;
};

}  // namespace ferry::engine
