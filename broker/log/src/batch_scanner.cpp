#include "batch_scanner.hpp"

#include <algorithm>

namespace ferry::log {

namespace {
constexpr std::uint64_t window_bytes = 1U << 20;  // stays in the second-level cache while checked
}

BatchScanner::BatchScanner(const Segment& segment, Position from, Position limit)
    : segment_(segment), position_(from), limit_(limit) {
    const std::uint64_t behind_header =
        segment.file_bytes - std::min(segment.file_bytes, format::segment_header_bytes);
    limit_ = std::min(limit_, segment.header.base + behind_header);
    limit_ = std::max(limit_, from);
}

Result<Bytes> BatchScanner::view(Position at, std::uint64_t bytes) {
    FERRY_ASSERT(bytes <= limit_ - at, "never reads behind the limit");
    if (at >= buffer_at_ && at - buffer_at_ + bytes <= buffer_bytes_)
        return Bytes(buffer_).subspan(at - buffer_at_, bytes);
    const std::uint64_t want = std::min(limit_ - at, std::max(bytes, window_bytes));
    if (buffer_.size() < want) buffer_.resize(want);
    const std::uint64_t offset = format::segment_header_bytes + (at - segment_.header.base);
    auto got = segment_.file->read_at(offset, MutableBytes(buffer_).first(want));
    if (!got.ok()) {
        Error error = got.error();
        error.position = at;
        return error;
    }
    buffer_at_ = at;
    buffer_bytes_ = got.value();
    return Bytes(buffer_).first(std::min(bytes, buffer_bytes_));
}

Result<std::optional<BatchScanner::Batch>> BatchScanner::next() {
    if (limit_ - position_ < format::batch_header_bytes) return std::optional<Batch>();
    auto head = view(position_, format::batch_header_bytes);
    if (!head.ok()) return head.error();
    const auto header =
        decode_batch(head.value(), segment_.header.epoch, position_, limit_ - position_);
    if (!header) return std::optional<Batch>();
    auto whole = view(position_, format::batch_header_bytes + header->length);
    if (!whole.ok()) return whole.error();
    if (!batch_intact(*header, whole.value())) return std::optional<Batch>();
    Batch batch{*header, whole.value(), whole.value().subspan(format::batch_header_bytes)};
    position_ = batch.end();
    return std::optional<Batch>(batch);
}

Result<bool> BatchScanner::claims_batch() {
    if (limit_ - position_ < format::batch_header_bytes) return false;
    auto head = view(position_, format::batch_header_bytes);
    if (!head.ok()) return head.error();
    if (head.value().size() < format::batch_header_bytes) return false;
    const std::byte* at = head.value().data();
    return load_le<std::uint32_t>(at) == format::batch_magic &&
           load_le<std::uint64_t>(at + 8) == segment_.header.epoch &&
           load_le<std::uint64_t>(at + 16) == position_;
}

Result<BatchScanner::Behind> BatchScanner::look_behind() {
    Behind behind;
    const Position start = position_;
    Position at = start + format::batch_alignment;
    while (at < limit_ && limit_ - at >= format::batch_header_bytes) {
        position_ = at;
        auto batch = next();
        if (!batch.ok()) return batch.error();
        if (!batch.value()) {
            at += format::batch_alignment;
            continue;
        }
        if (!behind.found) behind.first = at;
        behind.found = true;
        behind.durable_upto = std::max(behind.durable_upto, batch.value()->header.durable_upto);
        behind.last_end = batch.value()->end();
        at = behind.last_end;
    }
    position_ = start;
    return behind;
}

}  // namespace ferry::log
