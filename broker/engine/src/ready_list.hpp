#pragma once

#include <deque>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "aside_list.hpp"
#include "ferry/platform/planted.hpp"
#include "live_space.hpp"
#include "records.hpp"

namespace ferry::engine {

/// A queue's waiting messages, in order of position.
///
///     returned (by position, before all else) | piece | piece | … | piece     ◄── append
///     aside
///
/// A piece is a run of extents in memory, or an index block: extents that were written to the log
/// as a record of their own, so that memory does not grow with the backlog. An index block is read
/// back when the piece before it runs short.
///
/// In ordered queues messages whose turn has not come lie *aside*: taken from the front, and part
/// of the list still. A checkpoint has them among the returned ones.
///
/// Replay does not know what was delivered: there, acked messages are cut out of wherever they lie.
/// Of an index block that is not in memory only the hole is remembered.
class ReadyList {
public:
    using Taken = AsideList::Item;
    enum class Front : std::uint8_t {
        empty,
        waits_for_log,    // the first message (or its return) is not durable
        waits_for_index,  // the first piece is an index block; see block_to_load()
        ready,
    };

    explicit ReadyList(LiveSpace& live) : live_(&live) {}

    /// New messages, behind all others. Requires extent.first past everything appended before.
    void append(const Extent& extent);
    /// The same for some of one record, in order, of which none would join the next. Of a damaged
    /// record there may be none.
    void append(std::span<const Extent> extents);
    [[nodiscard]] Front front(Position durable) const;
    /// Requires front() == ready. At most `messages_max` (> 0), stopping before `below` (a position
    /// limit for messages never returned).
    Taken take(std::uint64_t messages_max, std::uint64_t bytes_max);
    /// First position that take() would give, and whether it was returned before.
    [[nodiscard]] Position front_position() const;
    [[nodiscard]] bool front_was_returned() const {
        if (FERRY_PLANTED("engine-requeued-at-the-tail") && !pieces_.empty() &&
            !pieces_.front().on_disk && !pieces_.front().run.empty())
            return false;
        return !returned_.empty();
    }

    /// No message lies below it; nothing if the list is empty.
    [[nodiscard]] std::optional<Position> first_position() const {
        std::optional<Position> first;
        if (!returned_.empty()) first = returned_.begin()->first;
        if (!aside_.empty() && (!first || aside_.front().first < *first))
            first = aside_.front().first;
        for (const Piece& piece : pieces_) {
            if (!piece.on_disk && piece.run.empty()) continue;
            if (!first || piece.begin_position() < *first) first = piece.begin_position();
            break;
        }
        return first;
    }

    /// The run at the front. Requires front() == ready.
    [[nodiscard]] const Extent& front_extent() const {
        return returned_.empty() ? pieces_.front().run.front() : returned_.begin()->second.extent;
    }
    /// Keeps messages that were taken, out of turn, until take_aside() asks for them.
    AsideList::Place set_aside(const Taken& taken);
    /// As set_aside(take(messages_max, UINT64_MAX)). Requires the same as take().
    struct Aside {
        Extent extent;
        AsideList::Place place = 0;
    };
    Aside front_to_aside(std::uint64_t messages_max);
    /// While wanted(extent) of the run at the front says so, as front_to_aside() of it, and then
    /// done(extent, place). Only of runs in memory that were never returned.
    template <class Wanted, class Done>
    void fronts_to_aside(Wanted&& wanted, Done&& done) {
        if (!front_is_fresh()) return;
        std::deque<Extent>& run = pieces_.front().run;
        for (; !run.empty() && wanted(std::as_const(run.front())); run.pop_front(), --in_memory_)
            done(std::as_const(run.front()), aside_.add(run.front(), 0, 0));
        if (run.empty()) drop_empty_front();
    }
    /// The first message in [first, end) that lies aside.
    [[nodiscard]] std::optional<AsideList::Found> next_aside(Position first, Position end,
                                                             AsideList::Place place) const {
        return aside_.next(first, end, place);
    }
    void expect_aside(AsideList::Place place) const { aside_.expect(place); }
    /// The message at this position, if it lies aside.
    std::optional<Taken> take_aside(Position position, AsideList::Place place);
    /// Takes up to `messages_max` messages that lie aside, one run at a time; nothing if none does.
    std::optional<Taken> take_any_aside(std::uint64_t messages_max);
    /// The first run that lies aside. Requires aside_messages() > 0.
    [[nodiscard]] const Extent& first_aside() const { return aside_.front(); }
    [[nodiscard]] std::size_t aside_extents() const { return aside_.runs(); }
    [[nodiscard]] std::uint64_t aside_messages() const { return aside_.messages(); }

    /// Puts messages back that were taken. `gate`: the record that says so.
    void give_back(const Extent& extent, std::uint32_t attempts, Position gate);
    /// Replay: finds messages wherever they are and removes them. Calls live_ for what goes if
    /// `release`. Returns how many were there.
    std::uint64_t cut(Position first, std::uint32_t count, bool release,
                      std::uint32_t* attempts_of = nullptr);
    /// Takes the messages in memory that lie in [first, end), with their attempts.
    void take_range(Position first, Position end,
                    std::vector<std::pair<Extent, std::uint32_t>>& out);
    /// Removes everything, releasing it. Returns how many messages.
    std::uint64_t clear();

    /// Extents that should go to an index block now, if memory for this list may be at most about
    /// `extents_max`; empty: none.
    [[nodiscard]] std::vector<Extent> to_spill(std::size_t extents_max) const;
    /// The record of these extents is at `record`. False: they are not in memory (replay of a
    /// record that does not fit); nothing is right then.
    [[nodiscard]] bool spilled(const std::vector<Extent>& extents, Position record,
                               std::uint32_t record_bytes);
    /// An index block that is needed soon and not being loaded.
    [[nodiscard]] std::optional<Position> block_to_load() const;
    void loading(Position record);
    /// False: that block is not wanted any more, or is not what was written (then damaged()).
    bool loaded(Position record, const std::vector<Extent>& extents);
    void load_failed(Position record);
    [[nodiscard]] bool damaged() const { return damaged_; }

    /// After an unclean end: what lies below `horizon` counts as delivered once more.
    void suspect_below(Position horizon);

    [[nodiscard]] std::uint64_t messages() const { return messages_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::size_t extents_in_memory() const {
        return in_memory_ + returned_.size() + aside_.runs();
    }
    [[nodiscard]] std::size_t returned_extents() const { return returned_.size(); }
    /// Past the last message in the pieces; 0 if there are none.
    [[nodiscard]] Position back_end() const;

    /// Calls visit(extent, attempts) for messages in memory, returned first, until it says false.
    template <class Visit>
    void visit_memory(Visit&& visit) const {
        for (const auto& [first, r] : returned_) {
            if (!visit(r.extent, r.attempts)) return;
        }
        const auto one = [&](const AsideList::Item& a) { return visit(a.extent, a.attempts); };
        if (!aside_.visit(one)) return;
        for (const Piece& piece : pieces_) {
            if (piece.on_disk) return;
            for (const Extent& e : piece.run) {
                if (!visit(e, suspicions(e.first))) return;
            }
        }
    }
    /// What lives in [base, end): extents in memory, and index blocks that may name some.
    void live_in(Position base, Position end, LiveSet& out) const;

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);
    [[nodiscard]] bool holds_returned(Position first) const { return returned_.count(first) != 0; }
    /// Calls visit(position, references) for all that this list keeps alive in the log.
    template <class Visit>
    void visit_references(Visit&& visit) const {
        for (const auto& [first, r] : returned_) visit(r.extent.record(), r.extent.count);
        aside_.visit([&](const AsideList::Item& a) {
            visit(a.extent.record(), a.extent.count);
            return true;
        });
        for (const Piece& piece : pieces_) {
            for (const Extent& e : piece.run) visit(e.record(), e.count);
            for (const Share& share : piece.shares) visit(share.segment, share.references);
            if (piece.on_disk) visit(piece.record, 1);
        }
    }
    /// cut() found that an index block lacks what the log says it holds.
    [[nodiscard]] bool broken() const { return broken_; }

private:
    struct Share {
        Position segment = 0;
        std::uint64_t references = 0;
        std::uint64_t bytes = 0;
    };
    struct Piece {
        std::deque<Extent> run;
        // An index block:
        bool on_disk = false;
        bool loading = false;
        Position record = 0;
        std::uint32_t record_bytes = 0;
        Position first = 0;
        Position end = 0;
        std::uint64_t messages = 0;
        std::uint64_t bytes = 0;
        std::vector<Share> shares;  // of the messages still there, by segment
        std::vector<Span> holes;    // sorted

        [[nodiscard]] Position begin_position() const {
            return on_disk ? first : run.front().first;
        }
        [[nodiscard]] Position end_position() const { return on_disk ? end : run.back().end(); }
    };
    struct Returned {
        Extent extent;
        std::uint32_t attempts = 0;
        Position gate = 0;
    };

    /// How often a message that was never returned may have been delivered.
    [[nodiscard]] std::uint32_t suspicions(Position first) const {
        std::uint32_t count = 0;
        for (auto at = suspects_.rbegin(); at != suspects_.rend() && first < *at; ++at) ++count;
        return count;
    }
    /// The run at the front is in memory, and was certainly never delivered.
    [[nodiscard]] bool front_is_fresh() const {
        if (!returned_.empty() || pieces_.empty() || pieces_.front().run.empty()) return false;
        return suspects_.empty() || pieces_.front().run.front().first >= suspects_.back();
    }
    using Apart = std::map<Position, Returned>;
    std::uint64_t cut_returned(Position first, std::uint32_t count, bool release,
                               std::uint32_t* attempts_of);
    std::uint64_t cut_aside(Position first, std::uint32_t count, bool release,
                            std::uint32_t* attempts_of);
    void count_taken(const std::optional<Taken>& taken);
    std::uint64_t cut_memory(Piece& piece, Position first, Position end, bool release);
    std::uint64_t cut_disk(Piece& piece, Position first, Position end, bool release);
    bool add_hole(Piece& piece, Span hole, bool release);
    void split(std::deque<Extent>& run, Position at);
    [[nodiscard]] bool load_block(Reader& in, Piece& piece);
    [[nodiscard]] bool load_run(Reader& in, Piece& piece);
    void release_piece_record(const Piece& piece);
    void drop_empty_front();
    void count_out(const Extent& extent, bool release);

    LiveSpace* live_;
    Apart returned_;
    AsideList aside_;
    std::deque<Piece> pieces_;
    std::size_t in_memory_ = 0;
    std::uint64_t messages_ = 0;
    std::uint64_t bytes_ = 0;
    Position spilled_upto_ =
        0;  // extents below came from an index block once; they are not spilled again
    std::vector<Position> suspects_;  // horizons of runs that ended uncleanly, ascending
    bool damaged_ = false;
    bool broken_ = false;
};

}  // namespace ferry::engine
