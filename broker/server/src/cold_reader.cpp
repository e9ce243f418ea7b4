#include "cold_reader.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"

namespace ferry::server {

using engine::Position;

Bytes ColdReader::find(Position record) {
    if (const Bytes hot = log_.hot(record); !hot.empty()) return hot;
    auto at = blocks_.upper_bound(record);
    if (at == blocks_.begin()) return {};
    --at;
    Cached& cached = *at->second;
    if (record >= cached.block.next) return {};
    const Bytes body = search(cached, record);
    if (body.empty()) return {};
    if (at->second != lru_.begin()) lru_.splice(lru_.begin(), lru_, at->second);
    if (record > at->first + (cached.block.next - at->first) / 2) read_ahead(cached);
    return body;
}

Bytes ColdReader::find_now(Position record) {
    const Bytes here = find(record);
    if (!here.empty() || stopped_ || under_way(record) != nullptr) return here;
    const std::size_t bytes = std::min(bytes_at(record), now_bytes_max);
    auto block = log_.read_cached(record, bytes == first_bytes ? 1 : bytes);
    if (!block.ok()) return {};
    insert(std::move(block).value());
    return find(record);
}

Bytes ColdReader::search(Cached& cached, Position record) {
    const std::vector<log::StoredRecord>& records = cached.block.records;
    if (cached.hint + 1 < records.size() && records[cached.hint + 1].position == record) {
        ++cached.hint;
        return records[cached.hint].body;
    }
    const auto at = std::lower_bound(
        records.begin(), records.end(), record,
        [](const log::StoredRecord& stored, Position wanted) { return stored.position < wanted; });
    if (at == records.end() || at->position != record) return {};
    cached.hint = static_cast<std::size_t>(at - records.begin());
    return at->body;
}

// Backlogs are drained in order: while one block is being sent, the next one is read.
void ColdReader::read_ahead(Cached& cached) {
    if (cached.read_on || stopped_) return;
    cached.read_on = true;
    const Position next = cached.block.next;
    if (reads_.size() >= reads_max || next >= log_.durable() || !log_.hot(next).empty()) return;
    if (blocks_.contains(next) || under_way(next) != nullptr) return;
    auto read = std::make_unique<Read>();
    read->record = next;
    start(std::move(read));  // nobody waits: if there is no record at `next`, nothing is lost
}

// Right behind a block that is here, somebody reads in order.
std::size_t ColdReader::bytes_at(Position record) const {
    const auto behind = blocks_.upper_bound(record);
    if (behind == blocks_.begin()) return first_bytes;
    const log::Block& block = std::prev(behind)->second->block;
    if (record > block.next + first_bytes) return first_bytes;
    return std::min(block_bytes, 2 * block.bytes.size());
}

// A read that began a little before the record will probably bring it too.
ColdReader::Read* ColdReader::under_way(Position record) {
    auto at = reads_.upper_bound(record);
    if (at == reads_.begin()) return nullptr;
    --at;
    return record < at->first + at->second->bytes * 3 / 4 ? at->second.get() : nullptr;
}

void ColdReader::fetch(Position record, Done done) {
    if (stopped_) return;
    if (Read* read = under_way(record)) {
        read->waiting.emplace_back(record, std::move(done));
        return;
    }
    for (const std::unique_ptr<Read>& read : queued_) {
        if (read->record != record) continue;
        read->waiting.emplace_back(record, std::move(done));
        return;
    }
    auto read = std::make_unique<Read>();
    read->record = record;
    read->waiting.emplace_back(record, std::move(done));
    if (reads_.size() >= reads_max) {
        queued_.push_back(std::move(read));
    } else {
        start(std::move(read));
    }
}

void ColdReader::start(std::unique_ptr<Read> read) {
    Read* raw = read.get();
    raw->reader = this;
    raw->bytes = bytes_at(raw->record);
    raw->work.data = raw;
    reads_.emplace(raw->record, std::move(read));
    const int status = uv_queue_work(
        loop_, &raw->work,
        [](uv_work_t* work) {
            auto* self = static_cast<Read*>(work->data);
            self->result = self->reader->log_.read_block(self->record, self->bytes);
        },
        [](uv_work_t* work, int) {
            auto* self = static_cast<Read*>(work->data);
            self->reader->finished(self);
        });
    FERRY_ASSERT(status == 0, "libuv refuses work only without a callback");
}

void ColdReader::finished(Read* raw) {
    const auto at = reads_.find(raw->record);
    FERRY_ASSERT(at != reads_.end(), "a read that nobody started has finished");
    const std::unique_ptr<Read> read = std::move(at->second);
    reads_.erase(at);
    if (stopped_) return;
    const bool ok = read->result.ok();
    const Error error = ok ? Error{} : read->result.error();
    if (ok) insert(std::move(read->result).value());
    for (auto& [record, done] : read->waiting) {
        if (record == read->record) {
            done(ok ? nullptr : &error);
        } else if (!find(record).empty()) {
            done(nullptr);
        } else {
            fetch(record, std::move(done));  // it was not in that block, or that block was bad
        }
    }
    while (!queued_.empty() && reads_.size() < reads_max) {
        std::unique_ptr<Read> next = std::move(queued_.front());
        queued_.pop_front();
        if (reads_.contains(next->record)) {
            Read& same = *reads_.at(next->record);
            for (auto& waiting : next->waiting) same.waiting.push_back(std::move(waiting));
        } else {
            start(std::move(next));
        }
    }
}

void ColdReader::drop(std::map<Position, Lru::iterator>::iterator at) {
    cached_bytes_ -= at->second->block.bytes.size();
    lru_.erase(at->second);
    blocks_.erase(at);
}

void ColdReader::insert(log::Block block) {
    if (block.records.empty()) return;
    const Position first = block.records.front().position;
    // A search looks only into the last block that begins before it: none may hide another.
    const auto behind = blocks_.upper_bound(first);
    if (behind != blocks_.begin() && std::prev(behind)->second->block.next >= block.next) {
        if (!search(*std::prev(behind)->second, first).empty()) return;
        drop(std::prev(behind));
    }
    for (auto at = blocks_.lower_bound(first); at != blocks_.end() && at->first < block.next;) {
        if (at->second->block.next > block.next) break;
        drop(at++);
    }
    cached_bytes_ += block.bytes.size();
    lru_.push_front(Cached{std::move(block), 0, false});
    blocks_[first] = lru_.begin();
    while (cached_bytes_ > cache_bytes_max && lru_.size() > 1)
        drop(blocks_.find(lru_.back().block.records.front().position));
}

void ColdReader::stop() {
    stopped_ = true;
    queued_.clear();
}

}  // namespace ferry::server
