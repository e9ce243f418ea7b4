#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ferry/outbox/relay.hpp"
#include "ferry/platform/random.hpp"
#include "ferry/transport/sequenced.hpp"
#include "id_ranges.hpp"

namespace ferry::outbox::relay {

/// A refusal to be written into ferry_outbox_parked.
struct Refusal {
    std::uint64_t id = 0;
    std::string key;
    wire::Code code = wire::Code::ok;  // ok: the relay itself
    std::string reason;
    std::uint32_t attempts = 0;
    std::optional<std::uint64_t> retry_in_ms;  // nothing: parked
};

/// A row of ferry_outbox_parked that still has its message.
struct ParkedRow {
    std::uint64_t id = 0;
    std::string key;
    std::uint32_t attempts = 0;
    std::optional<std::uint64_t> retry_in_ms;  // nothing: parked
};

/// Decides what a relay reads, sends, holds back, marks and parks. A state machine without I/O and
/// without a clock: times are milliseconds of a monotonic clock, handed in.
///
/// Ids are row ids. Towards the broker they are sequences; every id up to `told` was published or
/// held there. Each id is in one of these places:
///
///   not read yet ── offer() ──► in flight ── confirmed ──► finished ── marked() ──► forgotten
///                      │            │ refused
///                      └──► waiting ◄┘   (refused; or behind a refused one of its key; or open)
///                              └── due() ──► in flight
///
/// After a fresh refusal the broker takes nothing behind it. Then the pipeline runs dry (draining),
/// and reading begins anew behind the refused row: what is behind it in its key waits, the rest
/// goes on, and what was left out is held.
///
/// After a lost connection everything but what is finished is forgotten: the broker's mark and the
/// database say it all again.
///
/// Threads   One. Memory: at most rules.waiting_rows_max waiting rows, and ranges.
class Core {
public:
    Core(const Rules& rules, Random& random) : rules_(rules), random_(random) {}

    // ---- connections ----

    /// `trusted_upto`: rows up to this one may have been published by this database before.
    void opened(std::uint64_t mark, std::span<const Range> open, std::uint64_t trusted_upto,
                std::uint64_t first_pending);
    /// Rows of the table of parked ones, before anything is read.
    void load_parked(const ParkedRow& row, std::uint64_t now);
    /// The open rows that the database still has, in ascending order, before anything is read.
    void offer_open(std::uint64_t id, std::string_view key);
    void lost();
    [[nodiscard]] bool connected() const { return connected_; }
    /// Somebody else publishes under this identity: a new epoch is needed.
    [[nodiscard]] bool foreign() const { return foreign_; }
    /// The broker and this disagree on what was sent: connect anew.
    [[nodiscard]] bool desynchronised() const { return desynchronised_; }

    // ---- reading and sending ----

    /// Something may be sent now.
    [[nodiscard]] bool may_send(std::uint64_t now) const;
    /// How many rows may be sent now.
    [[nodiscard]] std::uint64_t room(std::uint64_t now) const;
    /// Read rows with higher ids than this.
    [[nodiscard]] std::uint64_t read_after() const { return cursor_; }
    enum class Verdict : std::uint8_t {
        send,    // gap_before(), then publish, then sent()
        wait,    // kept back; go on with the next row
        stop,    // cannot be taken now; ask again later
        rebase,  // so many ids are missing before it that only a new epoch gets over them
    };
    /// The next row in ascending order.
    Verdict offer(std::uint64_t id, std::string_view key, std::uint64_t now);
    /// What must be held before this row is published; then told with held().
    [[nodiscard]] std::optional<Range> gap_before(std::uint64_t id) const;
    void held(Range ids);
    void sent(std::uint64_t id);
    /// The relay itself found that the row cannot be sent.
    void unsendable(std::uint64_t id, std::string_view key, std::string_view reason);
    /// Waiting rows whose time has come, the oldest first. Each is read again, and then sent() or
    /// gone().
    [[nodiscard]] std::vector<std::uint64_t> due(std::uint64_t now, std::size_t most) const;
    /// The row is not in the database any more: somebody passed over it for good.
    void gone(std::uint64_t id);

    // ---- answers ----

    void confirmed(Range ids, bool duplicate);
    /// `key`: of the row; nothing if it is gone. `code` is not SEQUENCE_GAP.
    void refused(std::uint64_t id, const std::optional<std::string>& key, wire::Code code,
                 std::string_view reason, std::uint64_t now);
    /// Refused with SEQUENCE_GAP: as if they had never been sent.
    void not_taken(Range ids);

    // ---- what is to be written down ----

    [[nodiscard]] const IdRanges& finished() const { return finished_; }
    void marked(Range ids) { finished_.remove(ids); }
    /// The database is another one than before: its ids mean something else.
    void forget_finished() {
        finished_.clear();
        confirmed_upto_ = 0;
    }
    /// The broker has confirmed nothing higher in this epoch; what was skipped does not count.
    [[nodiscard]] std::uint64_t confirmed_upto() const { return confirmed_upto_; }
    [[nodiscard]] const std::vector<Refusal>& refusals() const { return refusals_; }
    void refusals_written(std::size_t count);
    /// The table of parked rows as it is now: somebody may have said "retry" or "skip" to one.
    /// Requires  refusals() empty.
    void sync_parked(const std::map<std::uint64_t, std::optional<std::uint64_t>>& retry_in_ms,
                     std::uint64_t now);

    // ---- what it knows ----

    /// Every id below it is at the broker for good, or was given up.
    [[nodiscard]] std::uint64_t floor() const;
    /// When something is due that no answer and no new row announces.
    [[nodiscard]] std::optional<std::uint64_t> next_due(std::uint64_t now) const;
    [[nodiscard]] std::uint64_t in_flight() const { return in_flight_.count(); }
    [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }
    [[nodiscard]] std::size_t parked() const { return parked_; }
    [[nodiscard]] bool paused(std::uint64_t now) const { return now < paused_until_; }
    /// Nothing to do but new rows and parked ones.
    [[nodiscard]] bool idle() const { return in_flight_.empty() && ready_.empty(); }
    /// So many rows wait that no more can be read.
    [[nodiscard]] bool stuck() const { return stuck_; }

private:
    struct Waiting {
        std::string key;
        bool refused = false;  // else it only waits for others
        bool parked = false;
        bool recorded = false;  // in ferry_outbox_parked
        bool flying = false;    // sent again, not answered
        bool was_open = false;  // when it was sent
        std::uint32_t attempts = 0;
        std::uint64_t due = 0;
    };
    using WaitingRows = std::map<std::uint64_t, Waiting>;

    [[nodiscard]] bool full() const { return waiting_.size() >= rules_.waiting_rows_max; }
    [[nodiscard]] bool blocks(const Waiting& row) const;
    [[nodiscard]] bool eligible(std::uint64_t id, const Waiting& row) const;
    void put(std::uint64_t id, Waiting row);
    void erase(WaitingRows::iterator at);
    void arm(std::uint64_t id, const Waiting& row);
    void disarm(std::uint64_t id, const Waiting& row) { ready_.erase({row.due, id}); }
    void arm_front(const std::string& key);
    void finish(Range ids);
    void row_at_fault(Waiting& row, std::uint64_t id, wire::Code code, std::string_view reason,
                      std::uint64_t now);
    void end_drain();
    [[nodiscard]] std::uint64_t backoff(std::uint32_t attempts) const;

    const Rules rules_;
    Random& random_;

    bool connected_ = false;
    bool foreign_ = false;
    bool desynchronised_ = false;
    bool draining_ = false;
    bool gap_seen_ = false;
    mutable bool stuck_ = false;
    std::optional<std::uint64_t> rewind_to_;
    std::uint64_t trusted_upto_ = 0;
    std::uint64_t cursor_ = 0;  // offered up to here
    std::uint64_t told_ = 0;    // the broker's mark when everything under way has arrived
    std::uint64_t window_ = 0;
    std::uint64_t confirmed_upto_ = 0;
    std::uint64_t paused_until_ = 0;
    std::uint32_t pauses_ = 0;  // in a row
    std::size_t parked_ = 0;
    IdRanges open_;  // at the broker: refused or held, not stored yet
    IdRanges in_flight_;
    IdRanges finished_;
    WaitingRows waiting_;
    std::unordered_map<std::string, std::set<std::uint64_t>> lanes_;  // by key: who waits in it
    std::set<std::pair<std::uint64_t, std::uint64_t>> ready_;         // due, id
    std::vector<Refusal> refusals_;
};

}  // namespace ferry::outbox::relay
