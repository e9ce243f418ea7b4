#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/clock.hpp"
#include "key_hint.hpp"
#include "records.hpp"

namespace ferry::engine {

/// Messages delivered together and not settled yet.
struct Chunk {
    Extent extent;
    std::uint32_t attempts = 0;  // with this delivery
    KeyHint key_hint = no_key_hint;
    Position token = 0;
    Instant taken;
    Instant deadline;
};

/// What a consumer was given and has not settled, by tag. Deliveries come at the end, in order of
/// tag, and in an ordered queue each message is one.
///
/// A chunk lies in the page of its first tag. What is taken leaves a gap in its page, so taking
/// costs no allocation and moves next to nothing, and dividing a chunk moves at most one page.
///
/// Threads   The engine's. Memory: 64 bytes per chunk, at worst four times that, and some 90 per
///           page; 4 KiB for a page of more than four that was never emptied so far.
class ChunkList {
public:
    struct Item {
        Tag first = 0;
        Chunk chunk;  // of no messages: a gap

        [[nodiscard]] Tag end() const { return first + chunk.extent.count; }
    };

private:
    static constexpr Tag page_tags = 64;
    static constexpr std::size_t items_few = 4;
    struct Page {
        std::vector<Item> items;  // in order of tag
        std::size_t held = 0;     // that are no gaps
    };
    using Pages = std::map<Tag, Page>;  // by their first tag / page_tags

public:
    class Iterator {
    public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = Item;
        using difference_type = std::ptrdiff_t;
        using pointer = const Item*;
        using reference = const Item&;

        Iterator(Pages::const_iterator page, Pages::const_iterator end) : page_(page), end_(end) {
            pass_gaps();
        }
        const Item& operator*() const { return page_->second.items[at_]; }
        const Item* operator->() const { return &page_->second.items[at_]; }
        Iterator& operator++() {
            ++at_;
            pass_gaps();
            return *this;
        }
        bool operator==(const Iterator& other) const {
            return page_ == other.page_ && at_ == other.at_;
        }

    private:
        void pass_gaps() {
            for (; page_ != end_; ++page_, at_ = 0) {
                const std::vector<Item>& items = page_->second.items;
                while (at_ < items.size() && items[at_].chunk.extent.count == 0) ++at_;
                if (at_ < items.size()) return;
            }
        }
        Pages::const_iterator page_;
        Pages::const_iterator end_;
        std::size_t at_ = 0;
    };

    [[nodiscard]] bool empty() const { return pages_.empty(); }
    /// In order of tag; changing the list ends the life of its iterators.
    [[nodiscard]] Iterator begin() const { return {pages_.begin(), pages_.end()}; }
    [[nodiscard]] Iterator end() const { return {pages_.end(), pages_.end()}; }

    /// Requires that none of its tags is here.
    void add(Tag first, const Chunk& chunk) { add(first, chunk.extent) = chunk; }
    /// The same for who writes the rest of the chunk where it lies. Holds until the next change.
    Chunk& add(Tag first, const Extent& extent) {
        Page& page = page_of(first / page_tags);
        std::vector<Item>& items = page.items;
        ++page.held;
        // Of single messages the page will be full: it grows once, and not seven times.
        if (items.size() == items_few) items.reserve(page_tags);
        if (items.empty() || items.back().first < first) {
            Item& item = items.emplace_back();
            item.first = first;
            item.chunk.extent = extent;
            return item.chunk;
        }
        auto at = std::partition_point(items.begin(), items.end(),
                                       [&](const Item& item) { return item.first < first; });
        if (at->first != first) at = items.insert(at, Item{first, {}});
        FERRY_ASSERT(at->chunk.extent.count == 0, "a tag is held once");
        at->chunk = {};
        at->chunk.extent = extent;
        return at->chunk;
    }

    /// Calls visit(item) for what has some of `tags`, in order.
    template <class Visit>
    void visit(Range<Tag> tags, Visit&& visit) const {
        for (auto page = first_page(pages_, tags.first); page != pages_.end(); ++page) {
            if (page->first > tags.last / page_tags) return;
            const std::vector<Item>& items = page->second.items;
            for (auto at = reaching(items, tags.first); at != items.end() && at->first <= tags.last;
                 ++at) {
                if (at->chunk.extent.count != 0) visit(*at);
            }
        }
    }

    /// Takes what has some of `tags` out, whole or in part: on_part(first tag, chunk), in order,
    /// which leaves this list alone.
    template <class OnPart>
    void take(Range<Tag> tags, OnPart&& on_part) {
        for (auto page = first_page(pages_, tags.first);
             page != pages_.end() && page->first <= tags.last / page_tags;) {
            take_from(page->second, tags, on_part);
            page = close_gaps(page);
        }
    }

    /// Takes the chunks of which gone(chunk) says so.
    template <class Gone>
    void take_if(Gone&& gone) {
        for (auto page = pages_.begin(); page != pages_.end();) {
            for (Item& item : page->second.items) {
                if (item.chunk.extent.count == 0 || !gone(std::as_const(item.chunk))) continue;
                item.chunk.extent.count = 0;
                --page->second.held;
            }
            page = close_gaps(page);
        }
    }
    void clear() { pages_.clear(); }

private:
    Page& page_of(Tag number) {
        if (!pages_.empty() && pages_.rbegin()->first == number) return pages_.rbegin()->second;
        return pages_.try_emplace(pages_.end(), number)->second;
    }
    /// Where the chunk with this tag may lie first: it may begin in the page before the tag's.
    template <class P>
    [[nodiscard]] static auto first_page(P& pages, Tag tag) -> decltype(pages.begin()) {
        auto page = pages.upper_bound(tag / page_tags);
        for (int back = 0; back < 2 && page != pages.begin(); ++back) --page;
        return page;
    }
    /// Returns the page behind it.
    Pages::iterator close_gaps(Pages::iterator page) {
        std::vector<Item>& items = page->second.items;
        if (page->second.held == 0) return pages_.erase(page);
        if (items.size() >= 4 * page->second.held) {
            std::erase_if(items, [](const Item& item) { return item.chunk.extent.count == 0; });
            items.shrink_to_fit();
        }
        return std::next(page);
    }
    [[nodiscard]] static std::vector<Item>::const_iterator reaching(const std::vector<Item>& items,
                                                                    Tag tag) {
        return std::partition_point(items.begin(), items.end(),
                                    [&](const Item& item) { return item.end() <= tag; });
    }
    template <class OnPart>
    void take_from(Page& page, Range<Tag> tags, OnPart&& on_part) {
        std::vector<Item>& items = page.items;
        auto at = static_cast<std::size_t>(reaching(items, tags.first) - items.cbegin());
        for (; at < items.size() && items[at].first <= tags.last; ++at) {
            if (items[at].chunk.extent.count == 0) continue;
            if (items[at].first >= tags.first && items[at].end() <= tags.last + 1) {
                on_part(items[at].first, std::as_const(items[at].chunk));
                items[at].chunk.extent.count = 0;
                --page.held;
                continue;
            }
            const Item whole = items[at];
            const Tag from = std::max(whole.first, tags.first);
            const Tag end = std::min(whole.end(), tags.last + 1);
            if (from == whole.first) {
                items[at].chunk.extent.count = 0;
                --page.held;
            } else {
                items[at].chunk = part_of(whole, whole.first, from);
            }
            if (end != whole.end()) add(end, part_of(whole, end, whole.end()));
            on_part(from, part_of(whole, from, end));
        }
    }
    [[nodiscard]] static Chunk part_of(const Item& whole, Tag from, Tag end) {
        Chunk part = whole.chunk;
        part.extent =
            engine::part_of(whole.chunk.extent, static_cast<std::uint32_t>(from - whole.first),
                            static_cast<std::uint32_t>(end - from));
        return part;
    }

    Pages pages_;
};

}  // namespace ferry::engine
