#pragma once

#include <span>
#include <string>
#include <vector>

#include "ferry/engine/types.hpp"
#include "varint.hpp"

// Bodies of log records; docs/storage-format.md, "Record bodies", has every byte.
namespace ferry::engine {

enum class RecordType : std::uint8_t {
    publish = 1,
    ack = 2,
    returned = 3,
    queue_declare = 4,
    queue_delete = 5,
    exchange_declare = 6,
    exchange_delete = 7,
    bind = 8,
    unbind = 9,
    producer = 10,
    producer_open = 11,
    purge = 12,
    horizon = 13,
    index_block = 14,
    producer_forget = 15,
    slice = 16,
    transaction = 17,  // a publish that takes messages off queues as well
    delayed = 18,
    due = 19,
    leave = 20,
    clock = 21,
    restart = 22,
    cancel = 23,
    policy_set = 40,
    policy_delete = 41,
    schedule_set = 42,
    schedule_delete = 43,
    schedule_moved = 44,
    schedule_fired = 45,  // a publish
    prepared = 50,
    prepared_submit = 51,  // a publish
    prepared_drop = 52,
    prepared_check = 53,  // a publish
    prepared_park = 54,
    prepared_resume = 55,
    lock_wait = 60,
    lock_grant = 61,
    lock_end = 62,
    lock_leave = 63,
    lock_open = 64,
};

// Of queue_declare and of a checkpoint's queues, beside those of 1 to 16.
constexpr std::uint8_t queue_flag_ordered = 32;
constexpr std::uint8_t queue_flag_single_active = 64;

/// Positions of messages, without what is needed to find them on disk.
struct Span {
    Position first = 0;
    std::uint32_t count = 0;
    std::uint8_t level = 0;
};
/// Of one level.
struct QueueSpans {
    QueueId queue = 0;
    std::vector<Span> spans;
};
/// Deliveries that are to leave their queue as dead letters, with their attempts.
struct QueueRejects {
    QueueId queue = 0;
    std::vector<std::pair<Extent, std::uint32_t>> parts;
};

/// Messages of one record that take the same route, one behind another.
struct Run {
    std::uint32_t count = 0;
    std::uint32_t bytes = 0;
    std::uint32_t targets_first = 0;  // into PublishRecord::targets
    std::uint32_t targets_count = 0;
    // Of each message of the run; wall clock, 0: none.
    std::uint64_t deliver_at = 0;
    std::uint64_t expires_at = 0;
    std::uint64_t id_hash = 0;  // of a delayed message that has an id
    std::uint8_t priority = 0;  // only if one of its queues heeds it

    [[nodiscard]] bool timed() const { return deliver_at != 0 || expires_at != 0; }
    [[nodiscard]] bool plain() const { return !timed() && priority == 0; }
};
struct Target {
    QueueId queue = 0;
    bool immediate = false;  // a consumer is waiting: the messages count as delivered from now on
};
struct PublishRecord {
    std::uint64_t wall_ms = 0;
    std::uint64_t producer = 0;  // number; 0: none
    Sequence first = 0;
    std::uint64_t sequences = 0;
    Sequence settled = 0;
    std::vector<Run> runs;
    std::vector<Target> targets;
    std::vector<QueueSpans> acks;       // of a transaction
    std::vector<QueueRejects> rejects;  // of a transaction
    // Of a schedule's message: whose, for when, and when the next one is due.
    std::string schedule;
    std::uint64_t due_ms = 0;
    std::uint64_t next_ms = 0;
    // Of a prepared message that is submitted, or of the check that asks for it: its id, the steady
    // clock, and when it is asked for next (0: submitted).
    std::string prepared;
    std::uint64_t steady_ms = 0;
    std::uint64_t next_check = 0;
    std::uint32_t messages_offset = 0;  // in the body

    /// A prepared message is published; ids of its messages count as those of a publish.
    [[nodiscard]] bool submits() const { return !prepared.empty() && next_check == 0; }
    void clear() {
        runs.clear();
        targets.clear();
        acks.clear();
        rejects.clear();
        schedule.clear();
        prepared.clear();
        next_check = 0;
        wall_ms = producer = first = sequences = settled = 0;
        messages_offset = 0;
    }
};

/// Everything before the messages; sets messages_offset.
void encode_publish_head(std::vector<std::byte>& out, PublishRecord& record);
/// The same for a record that has `acks`, or runs that are not plain.
void encode_transaction_head(std::vector<std::byte>& out, PublishRecord& record);
[[nodiscard]] bool decode_publish(Bytes body, PublishRecord& out);

void begin_ack(std::vector<std::byte>& out, std::size_t groups);
void put_ack_group(std::vector<std::byte>& out, QueueId queue, std::span<const Span> spans);
[[nodiscard]] bool decode_ack(Bytes body, std::vector<QueueSpans>& out);

void put_extent(std::vector<std::byte>& out, const Extent& extent, Position base);
[[nodiscard]] Extent get_extent(Reader& in, Position base);
/// Whether such an extent can exist at all.
[[nodiscard]] bool plausible(const Extent& extent);
/// A queue and extents: records `returned` (attempts grow by one) and `index_block`.
void encode_extents(std::vector<std::byte>& out, RecordType type, QueueId queue,
                    std::span<const Extent> extents);
[[nodiscard]] bool decode_extents(Bytes body, RecordType type, QueueId& queue,
                                  std::vector<Extent>& out);

void put_arguments(std::vector<std::byte>& out, const Arguments& arguments);
[[nodiscard]] Arguments get_arguments(Reader& in);
void put_binding(std::vector<std::byte>& out, const Binding& binding);
[[nodiscard]] Binding get_binding(Reader& in);
void put_ranges(std::vector<std::byte>& out, std::span<const Range<Sequence>> ranges);
[[nodiscard]] std::vector<Range<Sequence>> get_ranges(Reader& in);

/// The part [skip, skip + count) of `extent`; exact only when it is all of it.
[[nodiscard]] Extent inner_part_of(const Extent& extent, std::uint32_t skip, std::uint32_t count);
[[nodiscard]] inline Extent part_of(const Extent& extent, std::uint32_t skip, std::uint32_t count) {
    return count == extent.count && skip == 0 ? extent : inner_part_of(extent, skip, count);
}
/// Joins `next` to `extent` if it follows directly in the same record.
[[nodiscard]] inline bool join(Extent& extent, const Extent& next) {
    const bool follows = extent.end() == next.first && extent.key == next.key &&
                         extent.record() == next.record() && extent.exact && next.exact &&
                         extent.level == next.level &&
                         extent.offset() + extent.bytes == next.offset();
    if (!follows) return false;
    extent.set_count(extent.count + next.count);
    extent.bytes += next.bytes;
    return true;
}

}  // namespace ferry::engine
