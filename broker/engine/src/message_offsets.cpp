#include "ferry/engine/message_offsets.hpp"

#include "ferry/wire/cursor.hpp"
#include "ferry/wire/message.hpp"
#include "records.hpp"

namespace ferry::engine {

MessageOffsets::Walked& MessageOffsets::entry(Position record) {
    if (!lru_.empty() && lru_.front().record == record) return lru_.front();
    if (const auto found = by_record_.find(record); found != by_record_.end()) {
        lru_.splice(lru_.begin(), lru_, found->second);
        return lru_.front();
    }
    if (lru_.size() < records_max && offsets_ < offsets_max) {
        lru_.emplace_front();
    } else {
        while (offsets_ >= offsets_max && lru_.size() > 1) {
            offsets_ -= lru_.back().ends.size();
            by_record_.erase(lru_.back().record);
            lru_.pop_back();
        }
        lru_.splice(lru_.begin(), lru_, std::prev(lru_.end()));
        offsets_ -= lru_.front().ends.size();
        by_record_.erase(lru_.front().record);
        lru_.front().ends.clear();
    }
    lru_.front().record = record;
    lru_.front().begin = 0;
    by_record_[record] = lru_.begin();
    return lru_.front();
}

std::uint32_t MessageOffsets::known(Position record) const {
    const auto found = by_record_.find(record);
    return found == by_record_.end() ? 0 : static_cast<std::uint32_t>(found->second->ends.size());
}

Bytes MessageOffsets::find(Position record, Bytes body, std::uint32_t index, std::uint32_t count) {
    Walked& walked = entry(record);
    if (walked.begin == 0) {
        PublishRecord head;
        if (!decode_publish(body, head)) return {};
        walked.begin = head.messages_offset;
    }
    std::vector<std::uint32_t>& ends = walked.ends;
    const std::size_t wanted = std::size_t{index} + count;
    const auto end_of = [&](std::size_t messages) {
        return messages == 0 ? walked.begin : ends[messages - 1];
    };
    if (count == 0 || end_of(ends.size()) > body.size()) return {};
    if (ends.size() < wanted) {
        const std::size_t before = ends.size();
        wire::Cursor cursor(body.subspan(end_of(before)));
        while (ends.size() < wanted && wire::skip_message(cursor))
            ends.push_back(static_cast<std::uint32_t>(cursor.position() - body.data()));
        offsets_ += ends.size() - before;
        if (ends.size() < wanted) return {};
    }
    return body.subspan(end_of(index), end_of(wanted) - end_of(index));
}

}  // namespace ferry::engine
