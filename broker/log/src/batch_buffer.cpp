#include "batch_buffer.hpp"

#include <algorithm>

#include "ferry/platform/crc32c.hpp"

namespace ferry::log {

BatchBuffer::BatchBuffer(Core& core, HandOver& hand_over)
    : core_(core),
      hand_over_(hand_over),
      batch_max_(core.options.batch_bytes_max & ~(format::batch_alignment - 1)),
      chunk_bytes_(batch_max_) {}

Place BatchBuffer::append(std::span<const Bytes> parts) {
    std::uint64_t total = 0;
    for (const Bytes& part : parts) total += part.size();
    FERRY_ASSERT(total > 0 && total <= core_.options.batch_bytes_max - 4096, "record size");
    const std::uint64_t need = format::record_header_bytes + total;
    if (open_ && used_ + need > limit_) close_batch();
    if (!open_) open_batch(need);

    std::byte* const record = at_ + used_;
    const Position position = position_ + used_;
    store_le(record, static_cast<std::uint32_t>(total));
    std::uint32_t crc = record_crc_seed(position, static_cast<std::uint32_t>(total));
    std::byte* out = record + format::record_header_bytes;
    for (const Bytes& part : parts) {
        if (part.empty()) continue;
        std::memcpy(out, part.data(), part.size());
        crc = crc32c(Bytes(out, part.size()), crc);
        out += part.size();
    }
    store_le(record + 4, crc);
    used_ += need;
    ++count_;
    chunks_.back().used = position_ + used_ - chunks_.back().start;
    return Place{position, segment_};
}

void BatchBuffer::open_batch(std::uint64_t need) {
    std::uint64_t room = 0;
    {
        const std::lock_guard lock(hand_over_.mutex);
        position_ = hand_over_.next.load(std::memory_order_relaxed);
        const std::uint64_t span = padded(format::batch_header_bytes + need);
        if (position_ - hand_over_.segment + span > hand_over_.capacity) {
            hand_over_.segment = position_;
            hand_over_.capacity = core_.options.segment_bytes;
            core_.table.begin(position_);
        }
        segment_ = hand_over_.segment;
        room = hand_over_.capacity - (position_ - segment_);
        hand_over_.owner_open = true;
    }
    make_room(position_, padded(format::batch_header_bytes + need));
    const std::uint64_t offset = position_ - chunks_.back().start;
    limit_ = std::min({batch_max_, room, chunk_bytes_ - offset});
    at_ = chunks_.back().data.get() + offset;
    used_ = format::batch_header_bytes;
    count_ = 0;
    open_ = true;
}

void BatchBuffer::close_batch() {
    const std::uint64_t span = padded(used_);
    std::memset(at_ + used_, 0, span - used_);
    closed_.push_back(ClosedBatch{at_, position_,
                                  static_cast<std::uint32_t>(used_ - format::batch_header_bytes),
                                  count_, segment_});
    chunks_.back().used = position_ + span - chunks_.back().start;
    open_ = false;
    // The writer takes positions only while owner_open is false, so this store needs no lock.
    hand_over_.next.store(position_ + span, std::memory_order_relaxed);
}

bool BatchBuffer::submit() {
    if (open_) close_batch();
    if (closed_.empty()) return false;
    {
        const std::lock_guard lock(hand_over_.mutex);
        hand_over_.queue.insert(hand_over_.queue.end(), closed_.begin(), closed_.end());
        hand_over_.owner_open = false;
    }
    closed_.clear();
    trim();
    return true;
}

Position BatchBuffer::end() const {
    return open_ ? position_ + used_ : hand_over_.next.load(std::memory_order_acquire);
}

Position BatchBuffer::boundary() const {
    return open_ ? position_ : hand_over_.next.load(std::memory_order_acquire);
}

Bytes BatchBuffer::hot(Position record) const {
    for (auto chunk = chunks_.rbegin(); chunk != chunks_.rend(); ++chunk) {
        if (record < chunk->start) continue;
        const std::uint64_t offset = record - chunk->start;
        if (offset + format::record_header_bytes >= chunk->used) return {};
        const std::byte* at = chunk->data.get() + offset;
        const auto length = load_le<std::uint32_t>(at);
        if (length == 0 || length > chunk->used - offset - format::record_header_bytes) return {};
        return Bytes(at + format::record_header_bytes, length);
    }
    return {};
}

void BatchBuffer::make_room(Position position, std::uint64_t need) {
    if (!chunks_.empty() && position - chunks_.back().start + need <= chunk_bytes_) return;
    trim();
    Chunk chunk;
    if (free_.empty()) {
        chunk.data.reset(new std::byte[chunk_bytes_]);
    } else {
        chunk.data = std::move(free_.back());
        free_.pop_back();
    }
    chunk.start = position;
    if (!chunks_.empty()) cached_bytes_ += chunks_.back().used;
    chunks_.push_back(std::move(chunk));
}

// Gives up the oldest chunks that are on disk, as far as the newest cache_bytes do not need them.
void BatchBuffer::trim() {
    const Position durable = core_.durable.load(std::memory_order_acquire);
    while (chunks_.size() > 1) {
        Chunk& oldest = chunks_.front();
        if (oldest.start + oldest.used > durable) return;
        if (cached_bytes_ - oldest.used + chunks_.back().used < core_.options.cache_bytes) return;
        cached_bytes_ -= oldest.used;
        if (free_.size() < 2) free_.push_back(std::move(oldest.data));
        chunks_.pop_front();
    }
}

}  // namespace ferry::log
