#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ferry/wire/limits.hpp"
#include "ready_list.hpp"

namespace ferry::engine {

/// What of a queue lies ready: one ReadyList, or, once a message with a priority came to a queue
/// that heeds them, one for each priority (a *level*). A level keeps its own order, its own
/// returned messages and its own index blocks.
///
/// front() chooses the level that take() takes from: the highest that has something, but while
/// several levels wait the oldest of all get one for each `others_per_oldest` that went before
/// them, so no level waits for ever. They are counted message by message and handed out by runs,
/// up to `whole_run_max` of them at once: a run that is cut costs a delivery, and perhaps a read
/// from disk, for each part. So the oldest are due after `turn_for_others`, may get more than their
/// share at once if the caller takes as much, and are due again when the others have had theirs.
///
/// Threads   The engine's.
class ReadyQueue {
public:
    static constexpr std::int64_t others_per_oldest = 15;
    static constexpr std::int64_t turn_for_others = 60;
    static constexpr std::int64_t whole_run_max = 512;

    using Front = ReadyList::Front;
    using Taken = ReadyList::Taken;

    explicit ReadyQueue(LiveSpace& live) : live_(&live), base_(live) {}

    /// All there is in a queue that heeds no priorities. For ordered queues, which never do.
    [[nodiscard]] ReadyList& base() { return base_; }
    [[nodiscard]] const ReadyList& base() const { return base_; }

    void append(const Extent& extent) { level(extent.level).append(extent); }
    /// One of any level, or several as ReadyList::append() wants them.
    void append(std::span<const Extent> extents) {
        extents.size() == 1 ? append(extents.front()) : base_.append(extents);
    }
    /// Chooses where take() takes from.
    [[nodiscard]] Front front(Position durable) {
        return more_.empty() ? base_.front(durable) : choose(durable);
    }
    Taken take(std::uint64_t messages_max, std::uint64_t bytes_max);
    /// The same for what is to be dropped: the head of the lowest level that has anything.
    [[nodiscard]] Front front_to_drop(Position durable);
    Taken take_to_drop(std::uint64_t messages_max, std::uint64_t bytes_max) {
        return chosen().take(messages_max, bytes_max);
    }
    [[nodiscard]] Position front_position() const { return chosen().front_position(); }
    [[nodiscard]] bool front_was_returned() const { return chosen().front_was_returned(); }
    [[nodiscard]] std::optional<Position> first_position() const;

    void give_back(const Extent& extent, std::uint32_t attempts, Position gate) {
        level(extent.level).give_back(extent, attempts, gate);
    }
    std::uint64_t cut(Position first, std::uint32_t count, bool release, std::uint8_t of_level,
                      std::uint32_t* attempts_of = nullptr) {
        if (of_level > more_.size()) return 0;
        return at(of_level).cut(first, count, release, attempts_of);
    }
    void take_range(Position first, Position end,
                    std::vector<std::pair<Extent, std::uint32_t>>& out) {
        each([&](ReadyList& list) { list.take_range(first, end, out); });
    }
    std::uint64_t clear() {
        std::uint64_t all = 0;
        each([&](ReadyList& list) { all += list.clear(); });
        return all;
    }

    [[nodiscard]] std::vector<Extent> to_spill(std::size_t extents_max) const;
    [[nodiscard]] bool spilled(const std::vector<Extent>& extents, Position record,
                               std::uint32_t record_bytes) {
        if (extents.empty() || extents.front().level > more_.size()) return false;
        return at(extents.front().level).spilled(extents, record, record_bytes);
    }
    [[nodiscard]] std::optional<Position> block_to_load() const;
    void loading(Position record) {
        each([&](ReadyList& list) { list.loading(record); });
    }
    bool loaded(Position record, const std::vector<Extent>& extents) {
        bool wanted = false;
        each([&](ReadyList& list) { wanted = wanted || list.loaded(record, extents); });
        return wanted;
    }
    void load_failed(Position record) {
        each([&](ReadyList& list) { list.load_failed(record); });
    }
    void suspect_below(Position horizon) {
        each([&](ReadyList& list) { list.suspect_below(horizon); });
    }

    /// Messages of several priorities may lie here.
    [[nodiscard]] bool has_levels() const { return !more_.empty(); }
    [[nodiscard]] bool damaged() const {
        return any([](const ReadyList& list) { return list.damaged(); });
    }
    [[nodiscard]] bool broken() const {
        return any([](const ReadyList& list) { return list.broken(); });
    }
    [[nodiscard]] bool holds_returned(Position first) const {
        return any([&](const ReadyList& list) { return list.holds_returned(first); });
    }
    [[nodiscard]] std::uint64_t messages() const {
        return sum([](const ReadyList& list) { return list.messages(); });
    }
    [[nodiscard]] std::uint64_t messages_of_level(std::uint8_t of_level) const {
        return of_level > more_.size() ? 0 : at(of_level).messages();
    }
    [[nodiscard]] std::uint64_t bytes() const {
        return sum([](const ReadyList& list) { return list.bytes(); });
    }
    [[nodiscard]] std::size_t extents_in_memory() const {
        return sum([](const ReadyList& list) { return list.extents_in_memory(); });
    }
    [[nodiscard]] std::size_t returned_extents() const {
        return sum([](const ReadyList& list) { return list.returned_extents(); });
    }
    [[nodiscard]] Position back_end() const {
        Position end = base_.back_end();
        for (const ReadyList& list : more_) end = std::max(end, list.back_end());
        return end;
    }

    /// Highest level first.
    template <class Visit>
    void visit_memory(Visit&& visit) const {
        bool more = true;
        const auto one = [&](const Extent& e, std::uint32_t attempts) {
            more = visit(e, attempts);
            return more;
        };
        for (auto list = more_.rbegin(); more && list != more_.rend(); ++list)
            list->visit_memory(one);
        if (more) base_.visit_memory(one);
    }
    template <class Visit>
    void visit_references(Visit&& visit) const {
        base_.visit_references(visit);
        for (const ReadyList& list : more_) list.visit_references(visit);
    }
    void live_in(Position base, Position end, LiveSet& out) const {
        base_.live_in(base, end, out);
        for (const ReadyList& list : more_) list.live_in(base, end, out);
    }

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    [[nodiscard]] ReadyList& at(std::uint8_t of_level) {
        return of_level == 0 ? base_ : more_[of_level - 1U];
    }
    [[nodiscard]] const ReadyList& at(std::uint8_t of_level) const {
        return of_level == 0 ? base_ : more_[of_level - 1U];
    }
    /// Makes the levels when the first message of one comes.
    [[nodiscard]] ReadyList& level(std::uint8_t of_level) {
        if (of_level > more_.size()) make_levels();
        return at(of_level);
    }
    [[nodiscard]] ReadyList& chosen() { return at(chosen_); }
    [[nodiscard]] const ReadyList& chosen() const { return at(chosen_); }
    void make_levels();
    Front choose(Position durable);

    template <class F>
    void each(F&& f) {
        f(base_);
        for (ReadyList& list : more_) f(list);
    }
    template <class F>
    [[nodiscard]] bool any(F&& f) const {
        return f(base_) || std::any_of(more_.begin(), more_.end(), f);
    }
    template <class F>
    [[nodiscard]] std::uint64_t sum(F&& f) const {
        std::uint64_t all = f(base_);
        for (const ReadyList& list : more_) all += f(list);
        return all;
    }

    LiveSpace* live_;
    ReadyList base_;               // level 0
    std::vector<ReadyList> more_;  // levels 1 to 9, or none
    std::uint8_t chosen_ = 0;
    bool several_ = false;  // front() found more than one level
    // Of these, where the oldest message of a lower level than the chosen one lies; 0: the chosen
    // one is not the highest.
    Position others_from_ = 0;
    std::int64_t overtaken_ = 0;  // messages that went before the oldest without its share for them
    bool oldest_due_ = false;
};

}  // namespace ferry::engine
