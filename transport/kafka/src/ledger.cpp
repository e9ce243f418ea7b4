#include "ledger.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"

namespace ferry::transport::kafka {
void Ledger::assign(PartitionId id) {
    partitions_.try_emplace(id);
}

template <class Do>
void Ledger::each(const Do& act) const {
    for (const auto& [tag, out] : old_) act(tag, out);
    for (std::uint64_t tag = row_first_; tag < row_end_; ++tag) {
        if (place(tag).open || place(tag).done) act(tag, place(tag));
    }
}

std::vector<std::uint64_t> Ledger::revoke(PartitionId id) {
    std::vector<std::uint64_t> lost;
    std::vector<std::uint64_t> gone;
    each([&](std::uint64_t tag, const Out& out) {
        if (out.from != id) return;
        gone.push_back(tag);
        if (out.handed && out.open) lost.push_back(tag);
    });
    for (const std::uint64_t tag : gone) close(tag, *look_up(tag));
    tidy();
    partitions_.erase(id);
    last_ = nullptr;
    std::sort(lost.begin(), lost.end());
    return lost;
}

Ledger::Partition* Ledger::known(PartitionId id) {
    if (last_ != nullptr && last_id_ == id) return last_;
    const auto found = partitions_.find(id);
    if (found == partitions_.end()) return nullptr;
    last_id_ = id;
    last_ = &found->second;
    return last_;
}

std::uint64_t Ledger::add(PartitionId id, std::int64_t offset) {
    Partition* const found = known(id);
    if (found == nullptr || offset <= found->newest) return 0;
    Partition& partition = *found;
    partition.newest = offset;
    partition.entries.push_back({offset, false});
    const std::uint64_t tag = ++last_tag_;
    Out& out = open(tag);
    if (spare_.empty()) {
        out.received = std::make_unique<LateReceived>();
    } else {
        out.received = std::move(spare_.back());
        spare_.pop_back();
    }
    out.from = id;
    out.offset = offset;
    out.entry = partition.first + partition.entries.size() - 1;
    return tag;
}

Ledger::Out* Ledger::find(std::uint64_t tag) {
    Out* const out = look_up(tag);
    return out != nullptr && out->open ? out : nullptr;
}

Ledger::Out* Ledger::look_up(std::uint64_t tag) {
    if (tag >= row_first_ && tag < row_end_) {
        Out& out = place(tag);
        return out.open || out.done ? &out : nullptr;
    }
    const auto found = old_.find(tag);
    return found == old_.end() ? nullptr : &found->second;
}

Ledger::Out& Ledger::open(std::uint64_t tag) {
    FERRY_ASSERT(tag == row_end_, "tags count up by one");
    if (row_end_ - row_first_ == row_.size()) grow();
    ++row_end_;
    Out& out = place(tag);
    out.attempt = 1;
    out.handed = false;
    out.open = true;
    out.done = false;
    ++open_;
    return out;
}

void Ledger::grow() {
    std::vector<Out> larger(std::max<std::size_t>(64, row_.size() * 2));
    for (std::uint64_t tag = row_first_; tag < row_end_; ++tag) {
        larger[tag & (larger.size() - 1)] = std::move(place(tag));
    }
    row_ = std::move(larger);
}

void Ledger::close(std::uint64_t tag, Out& out) {
    --(out.open ? open_ : done_);
    let_go(out);
    if (tag < row_first_) {
        old_.erase(tag);
        return;
    }
    out.open = false;
    out.done = false;
}

void Ledger::let_go(Out& out) {
    if (out.received == nullptr) return;
    out.received->bytes.reset();
    out.received->late = nullptr;
    spare_.push_back(std::move(out.received));
}

void Ledger::tidy() {
    while (row_first_ < row_end_) {
        Out& oldest = place(row_first_);
        if (oldest.open || oldest.done) {
            if (row_end_ - row_first_ <= row_max_) return;
            old_.emplace(row_first_, std::move(oldest));
        }
        ++row_first_;
    }
}

bool Ledger::ack(std::uint64_t tag) {
    Out* const out = look_up(tag);
    if (out == nullptr) return false;
    if (out->open) acked(*out);
    close(tag, *out);
    tidy();
    return true;
}

bool Ledger::done(std::uint64_t tag) {
    Out* const out = find(tag);
    if (out == nullptr) return false;
    acked(*out);
    out->open = false;
    out->done = true;
    let_go(*out);
    --open_;
    ++done_;
    return true;
}

void Ledger::acked(const Out& out) {
    Partition* const found = known(out.from);
    FERRY_ASSERT(found != nullptr, "what is open has its partition");
    Partition& partition = *found;
    partition.entries[static_cast<std::size_t>(out.entry - partition.first)].acked = true;
    while (!partition.entries.empty() && partition.entries.front().acked) {
        partition.next = partition.entries.front().offset + 1;
        partition.entries.pop_front();
        ++partition.first;
    }
}

std::uint64_t Ledger::again(std::uint64_t tag) {
    Out* const found = find(tag);
    if (found == nullptr) return 0;
    Out out = std::move(*found);
    close(tag, *found);
    const std::uint64_t next = ++last_tag_;
    ++out.attempt;
    out.handed = false;
    out.received->delivery.attempt = out.attempt;
    out.received->delivery.tag.tag = next;
    open(next) = std::move(out);
    tidy();
    return next;
}

std::size_t Ledger::handed(PartitionId id) const {
    std::size_t count = 0;
    each([&](std::uint64_t, const Out& out) {
        if (out.from == id && out.handed && out.open) ++count;
    });
    return count;
}

std::size_t Ledger::span(PartitionId id) const {
    const auto found = partitions_.find(id);
    return found == partitions_.end() ? 0 : found->second.entries.size();
}

std::vector<Ledger::Commit> Ledger::to_commit() const {
    std::vector<Commit> commits;
    for (const auto& [id, partition] : partitions_) {
        if (partition.next > partition.committed) commits.push_back({id, partition.next});
    }
    return commits;
}

void Ledger::committed(const std::vector<Commit>& commits) {
    for (const Commit& commit : commits) {
        const auto found = partitions_.find(commit.at);
        if (found == partitions_.end()) continue;
        found->second.committed = std::max(found->second.committed, commit.next);
    }
}

bool Ledger::is_committed(PartitionId id, std::int64_t offset) const {
    const auto found = partitions_.find(id);
    return found != partitions_.end() && found->second.committed > offset;
}

}  // namespace ferry::transport::kafka
