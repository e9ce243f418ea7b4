#pragma once

#include <algorithm>
#include <deque>
#include <optional>

#include "records.hpp"

namespace ferry::engine {

/// Runs of messages that lie aside, in order of position. They come mostly in that order and go in
/// any, so what goes leaves a gap that is closed later: adding, and taking the first message of a
/// run, move nothing.
///
/// Threads   The engine's. Memory: 40 bytes per run, and as much for gaps at most.
class AsideList {
public:
    struct Item {
        Extent extent;  // count 0: a gap
        std::uint32_t attempts = 0;
        Position gate = 0;
    };

    /// Requires that none of its messages lies here.
    void add(const Item& item) {
        ++runs_;
        messages_ += item.extent.count;
        if (items_.empty() || items_.back().extent.first < item.extent.first) {
            items_.push_back(item);
        } else {
            auto at = items_.begin() + (behind(item.extent.first) - items_.cbegin());
            // A gap inside of it would hide it from who looks for its later messages.
            while (at != items_.end() && at->extent.count == 0 &&
                   at->extent.first < item.extent.end())
                at = items_.erase(at);
            items_.insert(at, item);
        }
    }
    /// The first message in [first, end).
    [[nodiscard]] std::optional<Position> next(Position first, Position end) const {
        auto at = holding(first);
        if (at == items_.end()) at = behind(first);
        while (at != items_.end() && at->extent.count == 0) ++at;
        if (at == items_.end() || at->extent.first >= end) return std::nullopt;
        return std::max(at->extent.first, first);
    }
    /// Takes the message at this position.
    std::optional<Item> take(Position position) {
        const auto at = holding(position);
        if (at == items_.end()) return std::nullopt;
        const Item whole = *at;
        const auto skip = static_cast<std::uint32_t>(position - whole.extent.first);
        return cut(items_.begin() + (at - items_.cbegin()), skip, 1);
    }
    /// Takes up to `messages_max` (> 0) messages of the first run.
    std::optional<Item> take_front(std::uint64_t messages_max) {
        if (runs_ == 0) return std::nullopt;
        const auto count = std::min<std::uint64_t>(items_.front().extent.count, messages_max);
        return cut(items_.begin(), 0, static_cast<std::uint32_t>(count));
    }
    /// Takes the part of one run that lies in [first, end); nothing: there is none any more.
    std::optional<Item> take_part(Position first, Position end) {
        const std::optional<Position> from = next(first, end);
        if (!from) return std::nullopt;
        const auto at = items_.begin() + (holding(*from) - items_.cbegin());
        const auto skip = static_cast<std::uint32_t>(*from - at->extent.first);
        const Position upto = std::min(end, at->extent.end());
        return cut(at, skip, static_cast<std::uint32_t>(upto - *from));
    }
    void clear() {
        items_.clear();
        runs_ = 0;
        messages_ = 0;
    }

    [[nodiscard]] std::size_t runs() const { return runs_; }
    [[nodiscard]] std::uint64_t messages() const { return messages_; }
    [[nodiscard]] bool empty() const { return runs_ == 0; }
    /// Requires !empty().
    [[nodiscard]] const Extent& front() const { return items_.front().extent; }
    /// Calls visit(item), in order, until it says false. False: it did.
    template <class Visit>
    bool visit(Visit&& visit) const {
        for (const Item& item : items_) {
            if (item.extent.count != 0 && !visit(item)) return false;
        }
        return true;
    }

private:
    using Items = std::deque<Item>;  // the first one is no gap
    static constexpr std::size_t gaps_min = 64;

    /// The first one that begins behind `position`.
    [[nodiscard]] Items::const_iterator behind(Position position) const {
        return std::partition_point(items_.begin(), items_.end(), [&](const Item& item) {
            return item.extent.first <= position;
        });
    }
    [[nodiscard]] Items::const_iterator holding(Position position) const {
        const auto next = behind(position);
        if (next == items_.begin() || std::prev(next)->extent.end() <= position)
            return items_.end();
        return std::prev(next);
    }
    Item cut(Items::iterator at, std::uint32_t skip, std::uint32_t count) {
        const Item whole = *at;
        Item taken = whole;
        taken.extent = part_of(whole.extent, skip, count);
        messages_ -= count;
        const std::uint32_t behind_it = whole.extent.count - skip - count;
        if (skip == 0 && behind_it == 0) {
            at->extent.count = 0;
            --runs_;
            close_gaps();
        } else if (skip == 0) {
            at->extent = part_of(whole.extent, count, behind_it);
        } else {
            at->extent = part_of(whole.extent, 0, skip);
            if (behind_it == 0) return taken;
            Item rest = whole;
            rest.extent = part_of(whole.extent, skip + count, behind_it);
            items_.insert(std::next(at), rest);
            ++runs_;
        }
        return taken;
    }
    void close_gaps() {
        while (!items_.empty() && items_.front().extent.count == 0) items_.pop_front();
        if (items_.size() < gaps_min + 2 * runs_) return;
        std::erase_if(items_, [](const Item& item) { return item.extent.count == 0; });
    }

    Items items_;
    std::size_t runs_ = 0;
    std::uint64_t messages_ = 0;
};

}  // namespace ferry::engine
