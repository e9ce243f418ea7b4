#include "ledger.hpp"

#include <algorithm>

namespace ferry::transport::kafka {

void Ledger::assign(PartitionId id) {
    partitions_.try_emplace(id);
}

std::vector<std::uint64_t> Ledger::revoke(PartitionId id) {
    std::vector<std::uint64_t> lost;
    for (auto at = out_.begin(); at != out_.end();) {
        if (at->second.from != id) {
            ++at;
            continue;
        }
        if (at->second.handed) lost.push_back(at->first);
        at = out_.erase(at);
    }
    partitions_.erase(id);
    std::sort(lost.begin(), lost.end());
    return lost;
}

std::uint64_t Ledger::add(PartitionId id, std::int64_t offset) {
    const auto found = partitions_.find(id);
    if (found == partitions_.end() || offset <= found->second.newest) return 0;
    found->second.newest = offset;
    found->second.entries.push_back({offset, false});
    const std::uint64_t tag = ++last_tag_;
    Out& out = out_[tag];
    out.from = id;
    out.offset = offset;
    return tag;
}

Ledger::Out* Ledger::find(std::uint64_t tag) {
    const auto found = out_.find(tag);
    return found == out_.end() ? nullptr : &found->second;
}

bool Ledger::ack(std::uint64_t tag) {
    const auto found = out_.find(tag);
    if (found == out_.end()) return false;
    const PartitionId id = found->second.from;
    const std::int64_t offset = found->second.offset;
    out_.erase(found);
    const auto at = partitions_.find(id);
    if (at == partitions_.end()) return true;
    Partition& partition = at->second;
    const auto entry =
        std::lower_bound(partition.entries.begin(), partition.entries.end(), offset,
                         [](const Entry& one, std::int64_t wanted) { return one.offset < wanted; });
    if (entry == partition.entries.end() || entry->offset != offset) return true;
    entry->acked = true;
    while (!partition.entries.empty() && partition.entries.front().acked) {
        partition.next = partition.entries.front().offset + 1;
        partition.entries.pop_front();
    }
    return true;
}

std::uint64_t Ledger::again(std::uint64_t tag) {
    const auto found = out_.find(tag);
    if (found == out_.end()) return 0;
    Out out = std::move(found->second);
    out_.erase(found);
    const std::uint64_t next = ++last_tag_;
    ++out.attempt;
    out.handed = false;
    out.received.delivery.attempt = out.attempt;
    out.received.delivery.tag.tag = next;
    out_.emplace(next, std::move(out));
    return next;
}

std::size_t Ledger::handed(PartitionId id) const {
    return static_cast<std::size_t>(std::count_if(out_.begin(), out_.end(), [&](const auto& one) {
        return one.second.from == id && one.second.handed;
    }));
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
