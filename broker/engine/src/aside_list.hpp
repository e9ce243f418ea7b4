#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "records.hpp"

namespace ferry::engine {

/// Runs of messages that lie aside, in order of position. They come mostly in that order and go in
/// any, so what goes leaves a gap that is closed later: adding, and taking the first message of a
/// run, move nothing.
///
/// Whoever puts a run aside may keep its Place: a hint that saves the search when it is asked for
/// again. A hint that is wrong by now costs the search and nothing else.
///
/// Closing gaps makes the hints wrong, so it is seldom done: in an ordered queue of 1,000 keys by
/// chance, of which 4,096 messages lie here, they are spread over some 25,000.
///
/// Threads   The engine's. Memory: 40 bytes per place of an array that grows by doubling; besides
///           the runs it has places for at most three gaps for each and 16,384, half as many again
///           that are free at its front, and next to nothing when no run lies here.
class AsideList {
public:
    using Place = std::uint32_t;
    struct Item {
        Extent extent;               // count 0: a gap
        std::uint32_t attempts = 0;  // deliveries so far
        Position gate = 0;           // record that returned it; 0: never returned
    };

    /// Requires that none of its messages lies here.
    Place add(const Extent& extent, std::uint32_t attempts, Position gate) {
        ++runs_;
        messages_ += extent.count;
        if (places() == 0 || items_.back().extent.first < extent.first) {
            Item& item = items_.emplace_back();
            item.extent = extent;
            item.attempts = attempts;
            item.gate = gate;
            return place_of(items_.size() - 1);
        }
        auto at = items_.begin() + (behind(extent.first) - items_.cbegin());
        // A gap inside of it would hide it from who looks for its later messages.
        while (at != items_.end() && at->extent.count == 0 && at->extent.first < extent.end())
            at = items_.erase(at);
        at = items_.insert(at, Item{extent, attempts, gate});
        return place_of(static_cast<std::size_t>(at - items_.begin()));
    }
    struct Found {
        Position position = 0;
        Place place = 0;
    };
    /// The first message in [first, end).
    [[nodiscard]] std::optional<Found> next(Position first, Position end, Place place) const {
        if (at_place(first, place) != nullptr && first < end) return Found{first, place};
        auto at = holding(first);
        if (at == items_.end()) at = behind(first);
        while (at != items_.end() && at->extent.count == 0) ++at;
        if (at == items_.end() || at->extent.first >= end) return std::nullopt;
        return Found{std::max(at->extent.first, first),
                     place_of(static_cast<std::size_t>(at - items_.begin()))};
    }
    /// Takes the message at this position.
    std::optional<Item> take(Position position, Place place) {
        const Item* known = at_place(position, place);
        const auto at = known != nullptr ? items_.begin() + (known - items_.data())
                                         : items_.begin() + (holding(position) - items_.cbegin());
        if (at == items_.end()) return std::nullopt;
        return cut(at, static_cast<std::uint32_t>(position - at->extent.first), 1);
    }
    /// What was put there will be asked for soon.
    void expect(Place place) const {
        const std::size_t index = index_of(place);
        if (index < items_.size()) __builtin_prefetch(&items_[index]);
    }
    /// Takes up to `messages_max` (> 0) messages of the first run.
    std::optional<Item> take_front(std::uint64_t messages_max) {
        if (runs_ == 0) return std::nullopt;
        const auto count = std::min<std::uint64_t>(front().count, messages_max);
        return cut(items_.begin() + static_cast<std::ptrdiff_t>(begin_), 0,
                   static_cast<std::uint32_t>(count));
    }
    /// Takes the part of one run that lies in [first, end); nothing: there is none any more.
    std::optional<Item> take_part(Position first, Position end) {
        const std::optional<Found> from = next(first, end, place_of(begin_));
        if (!from) return std::nullopt;
        const auto at = items_.begin() + static_cast<std::ptrdiff_t>(index_of(from->place));
        const auto skip = static_cast<std::uint32_t>(from->position - at->extent.first);
        const Position upto = std::min(end, at->extent.end());
        return cut(at, skip, static_cast<std::uint32_t>(upto - from->position));
    }
    void clear() {
        items_ = {};
        begin_ = 0;
        runs_ = 0;
        messages_ = 0;
    }

    [[nodiscard]] std::size_t runs() const { return runs_; }
    [[nodiscard]] std::uint64_t messages() const { return messages_; }
    [[nodiscard]] bool empty() const { return runs_ == 0; }
    /// Requires !empty().
    [[nodiscard]] const Extent& front() const { return items_[begin_].extent; }
    /// Calls visit(item), in order, until it says false. False: it did.
    template <class Visit>
    bool visit(Visit&& visit) const {
        for (std::size_t i = begin_; i < items_.size(); ++i) {
            if (items_[i].extent.count != 0 && !visit(items_[i])) return false;
        }
        return true;
    }

private:
    using Items = std::vector<Item>;
    static constexpr std::size_t gaps_min = 16'384;
    static constexpr std::size_t front_min = 1'024;  // places that are free before they are closed
    static constexpr std::size_t kept_max = 64;      // places that are kept when nothing lies here

    [[nodiscard]] std::size_t places() const { return items_.size() - begin_; }
    // Places count from the first item that ever lay here, and wrap around.
    [[nodiscard]] Place place_of(std::size_t index) const {
        return items_place_ + static_cast<Place>(index);
    }
    [[nodiscard]] std::size_t index_of(Place place) const {
        return static_cast<std::size_t>(static_cast<Place>(place - items_place_));
    }
    /// The item at this place, if it is the one that holds the message.
    [[nodiscard]] const Item* at_place(Position position, Place place) const {
        const std::size_t index = index_of(place);
        if (index >= items_.size()) return nullptr;
        const Item& item = items_[index];
        // A gap ends where it begins, so it holds nothing.
        const bool holds = item.extent.first <= position && position < item.extent.end();
        return holds ? &item : nullptr;
    }

    /// The first one that begins behind `position`.
    [[nodiscard]] Items::const_iterator behind(Position position) const {
        return std::partition_point(
            items_.begin() + static_cast<std::ptrdiff_t>(begin_), items_.end(),
            [&](const Item& item) { return item.extent.first <= position; });
    }
    [[nodiscard]] Items::const_iterator holding(Position position) const {
        const auto next = behind(position);
        if (next == items_.begin() + static_cast<std::ptrdiff_t>(begin_) ||
            std::prev(next)->extent.end() <= position)
            return items_.end();
        return std::prev(next);
    }
    std::optional<Item> cut(Items::iterator at, std::uint32_t skip, std::uint32_t count) {
        std::optional<Item> taken(*at);
        messages_ -= count;
        if (count == taken->extent.count) {
            at->extent.count = 0;
            --runs_;
            close_gaps();
            return taken;
        }
        const Item whole = *at;
        taken->extent = part_of(whole.extent, skip, count);
        const std::uint32_t behind_it = whole.extent.count - skip - count;
        if (skip == 0) {
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
        while (begin_ < items_.size() && items_[begin_].extent.count == 0) ++begin_;
        if (runs_ == 0 || (begin_ >= front_min && begin_ * 2 >= items_.size())) drop_front();
        if (places() < gaps_min + 3 * runs_) return;
        drop_front();
        std::erase_if(items_, [](const Item& item) { return item.extent.count == 0; });
    }
    void drop_front() {
        items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(begin_));
        items_place_ += static_cast<Place>(begin_);
        begin_ = 0;
        if (items_.empty() && items_.capacity() > kept_max) items_.shrink_to_fit();
    }

    Items items_;
    std::size_t begin_ = 0;  // the first one: it is no gap
    Place items_place_ = 0;  // of items_[0]
    std::size_t runs_ = 0;
    std::uint64_t messages_ = 0;
};

}  // namespace ferry::engine
