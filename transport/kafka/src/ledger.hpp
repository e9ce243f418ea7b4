#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ferry/transport/late.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::transport::kafka {

/// A topic's index among those that are read, and a partition of it.
struct PartitionId {
    std::uint32_t topic = 0;
    std::int32_t partition = 0;
    auto operator<=>(const PartitionId&) const = default;
};

/// Which deliveries are out, which are acked, and up to where each partition may be committed. A
/// plain data structure: no Kafka, no threads, no clock.
class Ledger {
public:
    struct Out {
        PartitionId from;
        std::int64_t offset = 0;
        std::uint64_t attempt = 1;
        bool handed = false;      // the application has it
        bool open = false;        // not settled yet
        bool done = false;        // acked, and somebody asks later whether that is durable
        std::uint64_t entry = 0;  // of its partition
        std::unique_ptr<LateReceived> received;  // while it is open; stays where it is
    };
    struct Commit {
        PartitionId at;
        std::int64_t next = 0;  // the offset to begin with
    };

    /// At most so many have their places in the row; a test makes it small.
    explicit Ledger(std::size_t row_max = 2 * ferry::limits::window_messages_max)
        : row_max_(row_max) {}

    void assign(PartitionId id);
    [[nodiscard]] bool assigned(PartitionId id) const { return partitions_.contains(id); }
    [[nodiscard]] std::size_t assigned() const { return partitions_.size(); }
    [[nodiscard]] std::vector<PartitionId> partitions() const {
        std::vector<PartitionId> ids;
        for (const auto& [id, partition] : partitions_) ids.push_back(id);
        return ids;
    }
    /// Forgets the partition; the tags that are lost with it, of those that were handed out.
    std::vector<std::uint64_t> revoke(PartitionId id);

    /// A message came. Offsets of a partition ascend; 0: the partition is not assigned, or the
    /// offset came before.
    std::uint64_t add(PartitionId id, std::int64_t offset);
    /// Valid until the next call that changes the ledger.
    [[nodiscard]] Out* find(std::uint64_t tag);
    /// False: no such tag is out, or done.
    bool ack(std::uint64_t tag);
    /// Acks it and keeps the tag for an ack() that asks whether it was lost since.
    bool done(std::uint64_t tag);
    /// done(), and not asked for since.
    [[nodiscard]] bool is_done(std::uint64_t tag) {
        const Out* const out = look_up(tag);
        return out != nullptr && out->done;
    }
    /// The delivery ends, the message does not: it will be handed out under the tag returned.
    std::uint64_t again(std::uint64_t tag);

    [[nodiscard]] std::size_t out() const { return open_; }
    [[nodiscard]] std::size_t done() const { return done_; }
    /// Of the partition, handed out.
    [[nodiscard]] std::size_t handed(PartitionId id) const;
    /// Acked and open ones from the first open one on: what a commit waits for.
    [[nodiscard]] std::size_t span(PartitionId id) const;
    /// Partitions whose next offset has risen since it was last taken.
    [[nodiscard]] std::vector<Commit> to_commit() const;
    void committed(const std::vector<Commit>& commits);
    /// The lowest offset not settled is above this one.
    [[nodiscard]] bool is_committed(PartitionId id, std::int64_t offset) const;

private:
    struct Entry {
        std::int64_t offset = 0;
        bool acked = false;
    };
    // What is done stays in the row until its commit: many, so a place is small, and the messages
    // are apart from it.
    struct Partition {
        std::deque<Entry> entries;  // from the first open one
        std::uint64_t first = 0;    // the number of the first entry; they count up for ever
        std::int64_t newest = -1;
        std::int64_t next = -1;  // to commit; -1: nothing yet
        std::int64_t committed = -1;
    };

    [[nodiscard]] Out& place(std::uint64_t tag) { return row_[tag & (row_.size() - 1)]; }
    [[nodiscard]] const Out& place(std::uint64_t tag) const {
        return row_[tag & (row_.size() - 1)];
    }
    void grow();
    /// Open or done.
    [[nodiscard]] Out* look_up(std::uint64_t tag);
    /// Null: not assigned. Messages come in runs of a partition.
    [[nodiscard]] Partition* known(PartitionId id);
    Out& open(std::uint64_t tag);
    void let_go(Out& out);
    void close(std::uint64_t tag, Out& out);
    void acked(const Out& out);
    void tidy();
    template <class Do>
    void each(const Do& act) const;

    const std::size_t row_max_;
    std::map<PartitionId, Partition> partitions_;
    PartitionId last_id_;
    Partition* last_ = nullptr;  // of last_id_
    // Tags count up, so the newer ones have their places in a row; what stays open while many
    // others pass goes into the map.
    std::vector<Out> row_;  // a ring of a power of two: a tag's place is its last bits
    std::uint64_t row_first_ = 1;
    std::uint64_t row_end_ = 1;
    std::unordered_map<std::uint64_t, Out> old_;
    std::vector<std::unique_ptr<LateReceived>> spare_;  // for their memory
    std::size_t open_ = 0;
    std::size_t done_ = 0;
    std::uint64_t last_tag_ = 0;
};

}  // namespace ferry::transport::kafka
