#include "late_batch.hpp"

#include <algorithm>
#include <utility>

#include "ferry/platform/assert.hpp"
#include "read.hpp"

namespace ferry::transport::kafka {

// ---- LentRecords ----

void LentRecords::take_back() {
    const std::scoped_lock lock(mutex_);
    for (LateBatch* const batch : batches_) batch->complete_locked();
    batches_.clear();
}

// ---- LateBatch ----

LateBatch::LateBatch(std::shared_ptr<LentRecords> lent, std::size_t messages, std::size_t bytes)
    : lent_(std::move(lent)) {
    bytes_.reserve(bytes);
    records_.reserve(messages);
    const std::scoped_lock lock(lent_->mutex_);
    lent_->batches_.insert(this);
}

LateBatch::~LateBatch() {
    const std::scoped_lock lock(lent_->mutex_);
    lent_->batches_.erase(this);
    for (const Lent& one : records_) rd_kafka_message_destroy(one.record);
}

std::size_t LateBatch::bytes_of(const rd_kafka_message_t& record) {
    const std::size_t key = key_of(record).size();
    return payload_of(record).size() + (key == 0 ? 0 : std::max(key, hashed_key_bytes));
}

std::string_view LateBatch::append(std::string_view text) {
    FERRY_ASSERT(bytes_.size() + text.size() <= bytes_.capacity(), "what is there never moves");
    const std::size_t begin = bytes_.size();
    const auto* const from = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), from, from + text.size());
    return as_text(bytes_).substr(begin);
}

void LateBatch::add(rd_kafka_message_t* record, std::string_view topic, LateReceived& to,
                    const std::shared_ptr<LateBatch>& self) {
    const std::string_view payload = payload_of(*record);
    const std::string_view key = key_of(*record);
    to.delivery.message = {};
    to.delivery.message.payload = as_bytes(append(payload));
    to.ordering_key = {};
    HashedKey hashed;
    if (!key.empty()) to.ordering_key = append(ordering_key(key, hashed));
    to.bytes = {self, &bytes_};
    to.late = this;
    to.which = records_.size();
    records_.push_back({record, topic});
}

void LateBatch::read(std::size_t which, MessageView& view) {
    const std::scoped_lock lock(lent_->mutex_);
    if (read_.empty()) complete_locked();
    const MessageView& late = read_[which].delivery.message;
    view.exchange = late.exchange;
    view.routing_key = late.routing_key;
    view.properties = late.properties;
}

void LateBatch::complete_locked() {
    if (records_.empty()) return;
    Batch batch;
    RecordView view;
    batch.begin(records_.size(), 0);
    read_.resize(records_.size());
    for (std::size_t i = 0; i < records_.size(); ++i) {
        read_record(*records_[i].record, view);
        view.topic = records_[i].topic;
        view.payload = {};
        lent_->headers_over_.fetch_add(batch.write(view, read_[i]).dropped,
                                       std::memory_order_relaxed);
        rd_kafka_message_destroy(records_[i].record);
    }
    batch.show();
    records_.clear();
}

}  // namespace ferry::transport::kafka
