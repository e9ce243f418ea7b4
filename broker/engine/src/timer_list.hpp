#pragma once

#include <map>
#include <optional>
#include <vector>

#include "records.hpp"

namespace ferry::engine {

/// Messages that wait for their time, in order of (due, position): runs of 32 bytes in sorted
/// blocks, so that a million of them cost about 40 MB, adding and taking one costs a search and a
/// short move, and nothing is ever scanned.
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
        return blocks_.empty() ? nullptr : &blocks_.begin()->second.front();
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
    template <class Visit>
    void visit(Visit&& visit) const {
        for (const auto& [key, block] : blocks_) {
            for (const Entry& entry : block) visit(entry);
        }
    }

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    using Block = std::vector<Entry>;
    using Blocks = std::map<Key, Block>;
    Blocks::iterator block_of(const Key& key);
    void insert(const Entry& entry);
    Entry remove(Blocks::iterator block, std::size_t at);

    Blocks blocks_;  // by a lower bound of its keys; none is empty
    std::uint64_t messages_ = 0;
    std::uint64_t bytes_ = 0;
    std::uint64_t entries_ = 0;
};

}  // namespace ferry::engine
