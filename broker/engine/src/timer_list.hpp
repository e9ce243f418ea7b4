#pragma once

#include <map>
#include <optional>
#include <vector>

#include "records.hpp"

namespace ferry::engine {

/// Messages that wait for their time, in order of (due, position): runs of 32 bytes in blocks that
/// are sorted among each other, so that a million of them cost about 40 MB, adding one costs a
/// search among blocks, and nothing is ever scanned. Within a block order is made when somebody
/// needs it, at the latest when the block becomes the first one: most are far in the future, and
/// come in any order.
///
/// Threads   The engine's. Live space is the caller's to keep.
class TimerList {
public:
    struct Key {
        std::uint64_t due = 0;
        Position first = 0;
        auto operator<=>(const Key&) const = default;
    };
    struct Entry {
        std::uint64_t due : 48 = 0;       // ms
        std::uint64_t attempts : 16 = 0;  // deliveries so far; stays at 65,535
        Extent extent;

        [[nodiscard]] Key key() const { return {due, extent.first}; }
    };
    static constexpr std::uint64_t due_max = (1ULL << 48) - 1;

    /// False: there is one with this key, or `due` is too large.
    bool add(std::uint64_t due, std::uint32_t attempts, const Extent& extent);
    [[nodiscard]] const Entry* front() const {
        return blocks_.empty() ? nullptr : &blocks_.begin()->second.first();
    }
    Entry pop_front();
    /// Key of the last of the first `most` entries that are due by then. Requires one that is.
    [[nodiscard]] Key last_due(std::uint64_t now, std::size_t most) const;
    /// Takes the message at `position` out of the run that is due then; the rest of the run stays.
    std::optional<Entry> take(std::uint64_t due, Position position);
    [[nodiscard]] bool contains(const Key& key) const;
    void clear();

    [[nodiscard]] bool empty() const { return blocks_.empty(); }
    [[nodiscard]] std::uint64_t messages() const { return messages_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::uint64_t entries() const { return entries_; }
    /// In order.
    template <class Visit>
    void visit(Visit&& visit) const {
        for (auto& [key, block] : blocks_) {
            sort(block);
            for (std::size_t i = block.head; i < block.entries.size(); ++i) visit(block.entries[i]);
        }
    }

    /// The same for who does not care about the order: nothing is sorted for it.
    template <class Visit>
    void visit_in_any_order(Visit&& visit) const {
        for (const auto& [key, block] : blocks_) {
            for (std::size_t i = block.head; i < block.entries.size(); ++i) visit(block.entries[i]);
        }
    }

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    struct Block {
        std::vector<Entry> entries;
        std::size_t head = 0;    // taken off the front already; of the first block
        std::size_t sorted = 0;  // the first so many are in order; of the first block all are

        [[nodiscard]] const Entry& first() const { return entries[head]; }
        [[nodiscard]] std::size_t size() const { return entries.size() - head; }
    };
    using Blocks = std::map<Key, Block>;
    [[nodiscard]] Blocks::iterator block_of(const Key& key) const;
    static void sort(Block& block);
    static void insert_sorted(Block& block, const Entry& entry);
    /// Its place in the sorted block, or nothing.
    [[nodiscard]] static std::size_t lower_bound(const Block& block, const Key& key);
    Blocks::iterator split(Blocks::iterator block, const Key& key);
    void insert(const Entry& entry, Blocks::iterator block);
    Entry remove(Blocks::iterator block, std::size_t at);

    mutable Blocks blocks_;  // by a lower bound of its keys; none is empty. Sorted by whoever looks
    Position newest_ = 0;    // no position is above it
    std::uint64_t messages_ = 0;
    std::uint64_t bytes_ = 0;
    std::uint64_t entries_ = 0;
};

}  // namespace ferry::engine
