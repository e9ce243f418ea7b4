#include "native/publish_pipe.hpp"

#include <algorithm>

#include "ferry/platform/assert.hpp"
#include "ferry/platform/planted.hpp"
#include "ferry/wire/cursor.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::size_t spare_batches_max = 8;
constexpr std::size_t messages_per_lock = 128;  // the I/O thread gets its turn in between

Error rejected(std::string_view what) {
    return Error{Errc::rejected, 0, 0, what};
}

}  // namespace

// ---- applications ----

Status PublishPipe::check(const Item& item) const {
    const Status fine = check_message_head(item.exchange, item.routing_key, item.properties);
    if (!fine.ok()) return fine;
    if (item.payload.size() > payload_bytes_max_) {
        return rejected("the payload is larger than the broker's limit");
    }
    const std::size_t bytes =
        encoded_bytes_max(item.exchange, item.routing_key, item.properties, item.payload);
    if (Batch::head_bytes + bytes > frame_bytes_max_ + limits::frame_length_bytes) {
        return rejected("the message is larger than the broker's frame limit");
    }
    return ok_status();
}

bool PublishPipe::full() const {
    return last_ - settled_ >= limits_.window_messages || bytes_ >= limits_.window_bytes;
}

Result<std::uint64_t> PublishPipe::put(Lock& lock, const Item& item, bool may_wait) {
    if (stopped_) return Error{Errc::unreachable, 0, 0, "the client is closed"};
    const Status checked = check(item);
    if (!checked.ok()) return checked.error();
    if (full()) {
        if (!may_wait || !limits_.block_when_full) {
            return Error{Errc::would_block, 0, 0, "the window of unconfirmed messages is full"};
        }
        // Waking for each freed place would make batches of one: wait until a quarter is free.
        const auto roomy = [this] {
            return stopped_ ||
                   (last_ - settled_ <= std::uint64_t{limits_.window_messages} * 3 / 4 &&
                    bytes_ <= limits_.window_bytes / 4 * 3);
        };
        ++waiting_for_room_;
        room_.wait(lock, roomy);
        --waiting_for_room_;
        if (stopped_) return Error{Errc::unreachable, 0, 0, "the client is closed"};
    }
    const std::size_t bytes =
        encoded_bytes_max(item.exchange, item.routing_key, item.properties, item.payload);
    if (open_ && (!open_->has_room(bytes) || open_->count() >= limits_.batch_messages ||
                  open_->flags() != item.flags)) {
        close_batch();
    }
    if (!open_) open_batch(bytes, item.flags);
    const std::size_t before = open_->message_bytes();
    open_->append(item.exchange, item.routing_key, item.properties, item.payload);
    bytes_ += open_->message_bytes() - before;
    return ++last_;
}

Result<std::uint64_t> PublishPipe::enqueue(const Item& item, ConfirmCallback done, bool may_wait,
                                           bool& wake) {
    Lock lock(mutex_);
    closed_one_ = false;
    auto sequence = put(lock, item, may_wait);
    if (!sequence.ok()) return sequence;
    if (done) callbacks_.emplace_back(sequence.value(), std::move(done));
    wake = idle_ || (closed_one_ && limits_.wake_for_full_batches);
    idle_ = false;
    return sequence;
}

Result<std::uint64_t> PublishPipe::enqueue_many(const Item& common, std::span<const Bytes> payloads,
                                                std::size_t& taken, bool may_wait,
                                                const std::function<void()>& wake) {
    Item item = common;
    std::uint64_t last = last_sequence();
    while (taken < payloads.size()) {
        Lock lock(mutex_);
        const std::size_t end = std::min(payloads.size(), taken + messages_per_lock);
        while (taken < end) {
            closed_one_ = false;
            item.payload = payloads[taken];
            auto sequence = put(lock, item, may_wait);
            if (!sequence.ok()) return sequence;
            last = sequence.value();
            ++taken;
            if (idle_ || (closed_one_ && limits_.wake_for_full_batches)) {
                idle_ = false;
                wake();
            }
        }
    }
    return last;
}

Status PublishPipe::flush(std::chrono::steady_clock::time_point deadline) {
    Lock lock(mutex_);
    const std::uint64_t target = last_;
    ++flushing_;
    const bool done = told_changed_.wait_until(lock, deadline, [&] { return told_ >= target; });
    --flushing_;
    if (!done) return Error{Errc::indeterminate, 0, 0, "not everything was confirmed in time"};
    if (abandoned_from_.has_value() && target > *abandoned_from_) {
        return Error{Errc::indeterminate, 0, 0, "the client was closed"};
    }
    return ok_status();
}

void PublishPipe::told_all() {
    const std::lock_guard lock(mutex_);
    told_ = settled_;
    if (flushing_ > 0) told_changed_.notify_all();
}

std::uint64_t PublishPipe::unconfirmed() const {
    const std::lock_guard lock(mutex_);
    std::uint64_t count = last_ - settled_;
    for (const auto& [first, last] : beyond_) count -= last - first + 1;
    return count;
}

std::uint64_t PublishPipe::last_sequence() const {
    const std::lock_guard lock(mutex_);
    return last_;
}

void PublishPipe::stop_taking() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    room_.notify_all();
}

// ---- batches ----

void PublishPipe::open_batch(std::size_t bytes, std::uint64_t flags) {
    const std::size_t frame_room =
        frame_bytes_max_ + limits::frame_length_bytes - Batch::head_bytes;
    const std::size_t usual = std::min<std::size_t>(limits_.batch_bytes, frame_room);
    if (bytes <= usual && !spare_.empty() && spare_.back()->capacity() == usual) {
        open_ = std::move(spare_.back());
        spare_.pop_back();
    } else {
        open_ = std::make_shared<Batch>(std::max(usual, bytes));
    }
    open_->reuse(last_ + 1, flags);
}

void PublishPipe::close_batch() {
    FERRY_ASSERT(open_ && open_->count() > 0, "only what holds messages is closed");
    BatchPtr closed = std::move(open_);
    open_.reset();
    // Many small batches under way must not each keep a large buffer.
    if (closed->message_bytes() < closed->capacity() / 4) {
        auto small = std::make_shared<Batch>(closed->message_bytes());
        small->copy(*closed);
        if (spare_.size() < spare_batches_max) spare_.push_back(std::move(closed));
        closed = std::move(small);
    }
    to_send_.push_back(closed);
    kept_.push_back(std::move(closed));
    closed_one_ = true;
}

bool PublishPipe::take(std::vector<BatchPtr>& out, std::size_t bytes_max, std::uint64_t producer,
                       bool open) {
    const std::lock_guard lock(mutex_);
    if (to_send_.empty() && open_ && (open || flushing_ > 0)) close_batch();
    std::size_t bytes = 0;
    while (!to_send_.empty() && (bytes == 0 || bytes < bytes_max)) {
        BatchPtr batch = std::move(to_send_.front());
        to_send_.pop_front();
        batch->write_head(batch->first() - base_, producer, settled_ - base_);
        sent_ = std::max(sent_, batch->last());
        bytes += batch->message_bytes();
        out.push_back(std::move(batch));
    }
    if (bytes == 0 && !open_) idle_ = true;
    return bytes != 0;
}

bool PublishPipe::only_open_left() const {
    const std::lock_guard lock(mutex_);
    return to_send_.empty() && open_ != nullptr;
}

// ---- connections ----

void PublishPipe::begin(const Opening& opening) {
    const std::lock_guard lock(mutex_);
    last_ = settled_ = told_ = sent_ = highest_confirmed_ = opening.mark;
    base_ = 0;
    frame_bytes_max_ = opening.frame_bytes_max;
    payload_bytes_max_ = opening.payload_bytes_max;
    stopped_ = false;
}

bool PublishPipe::used_by_others(std::uint64_t mark) const {
    const std::lock_guard lock(mutex_);
    return mark > last_ - base_;
}

std::optional<std::vector<Range>> PublishPipe::holds(std::uint64_t mark) const {
    const std::lock_guard lock(mutex_);
    if (mark < highest_confirmed_ - base_) return std::nullopt;
    std::vector<Range> ranges;
    std::uint64_t count = 0;
    const auto add = [&](std::uint64_t first, std::uint64_t last) {
        first = std::max(first, mark + 1);
        if (first > last) return;
        add_range(ranges, first, last);
        count += last - first + 1;
    };
    add(1, settled_ - base_);
    for (const auto& [first, last] : beyond_) add(first - base_, last - base_);
    if (count > limits::open_sequences_max || ranges.size() > limits::ranges_per_frame_max) {
        return std::nullopt;
    }
    return ranges;
}

void PublishPipe::rebase() {
    const std::lock_guard lock(mutex_);
    base_ = highest_confirmed_ = settled_;
}

void PublishPipe::send_again(const Opening& opening, Told& too_large) {
    const std::lock_guard lock(mutex_);
    frame_bytes_max_ = opening.frame_bytes_max;
    payload_bytes_max_ = opening.payload_bytes_max;
    retries_.clear();
    if (FERRY_PLANTED("client-sent-again-as-new")) {
        base_ = settled_ - opening.mark;
        highest_confirmed_ = settled_;
    }
    if (open_) close_batch();
    spare_.clear();
    to_send_.clear();
    std::vector<Range> oversize;
    for (const BatchPtr& batch : kept_) {
        const std::vector<Range> rest = unresolved(batch->first(), batch->last());
        const bool whole = rest.size() == 1 && rest.front().first == batch->first() &&
                           rest.front().last == batch->last();
        if (whole && batch->frame().size() <= frame_bytes_max_ + limits::frame_length_bytes) {
            to_send_.push_back(batch);
        } else {
            for (const Range& range : rest) send_part(*batch, range, oversize);
        }
    }
    for (const Range& range : oversize) settle(range.first, range.last, too_large);
    advance();
}

std::vector<Range> PublishPipe::unresolved(std::uint64_t first, std::uint64_t last) const {
    std::vector<Range> rest;
    std::uint64_t at = std::max(first, settled_ + 1);
    auto beyond = beyond_.upper_bound(at);
    if (beyond != beyond_.begin()) --beyond;
    for (; beyond != beyond_.end() && beyond->first <= last && at <= last; ++beyond) {
        if (beyond->second < at) continue;
        if (beyond->first > at) rest.push_back(Range{at, beyond->first - 1});
        at = beyond->second + 1;
    }
    if (at <= last) rest.push_back(Range{at, last});
    return rest;
}

void PublishPipe::send_part(const Batch& batch, const Range& wanted, std::vector<Range>& oversize) {
    const std::size_t room = frame_bytes_max_ + limits::frame_length_bytes - Batch::head_bytes;
    wire::Cursor cursor(batch.messages());
    BatchPtr part;
    for (std::uint64_t sequence = batch.first(); sequence <= wanted.last; ++sequence) {
        const std::byte* const begin = cursor.position();
        const bool read = cursor.skip();
        FERRY_ASSERT(read, "the batch was encoded here");
        if (sequence < wanted.first) continue;
        const Bytes message(begin, cursor.position());
        if (message.size() > room) {
            oversize.push_back(Range{sequence, sequence});
            part.reset();
            continue;
        }
        if (!part || !part->has_room(message.size())) {
            const std::size_t left =
                batch.message_bytes() - static_cast<std::size_t>(begin - batch.messages().data());
            part = std::make_shared<Batch>(std::min(room, left));
            part->reuse(sequence, batch.flags());
            to_send_.push_back(part);
        }
        part->append_encoded(message);
    }
}

// ---- answers ----

bool PublishPipe::local(std::uint64_t& first, std::uint64_t& last) const {
    if (first == 0 || first > last || last > sent_ - base_) return false;
    first += base_;
    last += base_;
    return true;
}

bool PublishPipe::confirm(std::uint64_t first, std::uint64_t last, Told& told) {
    const std::lock_guard lock(mutex_);
    if (!local(first, last)) return false;
    highest_confirmed_ = std::max(highest_confirmed_, last);
    settle(first, last, told);
    advance();
    return true;
}

bool PublishPipe::resolve(std::uint64_t first, std::uint64_t last, Told& told) {
    const std::lock_guard lock(mutex_);
    if (!local(first, last)) return false;
    settle(first, last, told);
    advance();
    return true;
}

void PublishPipe::settle(std::uint64_t first, std::uint64_t last, Told& told) {
    if (beyond_.empty() && first <= settled_ + 1) {  // nearly always
        if (last <= settled_) return;
        told.ranges.push_back(Range{settled_ + 1, last});
        settled_ = last;
        collect_callbacks(told.ranges.back(), told);
        return;
    }
    for (const Range& range : unresolved(first, last)) {
        told.ranges.push_back(range);
        beyond_.emplace(range.first, range.last);
        collect_callbacks(range, told);
    }
    while (!beyond_.empty() && beyond_.begin()->first == settled_ + 1) {
        settled_ = beyond_.begin()->second;
        beyond_.erase(beyond_.begin());
    }
}

void PublishPipe::collect_callbacks(const Range& range, Told& told) {
    if (callbacks_.empty()) return;
    auto at = std::lower_bound(
        callbacks_.begin(), callbacks_.end(), range.first,
        [](const auto& entry, std::uint64_t sequence) { return entry.first < sequence; });
    for (; at != callbacks_.end() && at->first <= range.last; ++at) {
        told.callbacks.emplace_back(at->first, std::move(at->second));
        at->second = nullptr;
    }
    while (!callbacks_.empty() && !callbacks_.front().second) callbacks_.pop_front();
}

void PublishPipe::advance() {
    while (!kept_.empty() && kept_.front()->last() <= settled_) {
        BatchPtr done = std::move(kept_.front());
        kept_.pop_front();
        bytes_ -= done->message_bytes();
        // Still held by a write that has not ended: then it is not ours to fill again.
        if (done.use_count() == 1 && spare_.size() < spare_batches_max &&
            done->capacity() == limits_.batch_bytes) {
            spare_.push_back(std::move(done));
        }
    }
    if (waiting_for_room_ > 0) room_.notify_all();
}

std::uint64_t PublishPipe::frame_end(std::uint64_t first) const {
    const std::lock_guard lock(mutex_);
    std::uint64_t last = first;
    if (!local(first, last)) return 0;
    for (const BatchPtr& batch : kept_) {
        if (batch->first() <= first && first <= batch->last()) return batch->last() - base_;
    }
    return 0;
}

bool PublishPipe::retry_later(std::uint64_t first, std::uint64_t last) {
    const std::lock_guard lock(mutex_);
    if (!local(first, last)) return false;
    for (const Range& range : unresolved(first, last)) {
        add_range(retries_, range.first, range.last);
    }
    return true;
}

void PublishPipe::send_retries() {
    const std::lock_guard lock(mutex_);
    std::vector<Range> oversize;
    for (const Range& retry : retries_) {
        for (const BatchPtr& batch : kept_) {
            if (batch->last() < retry.first || batch->first() > retry.last) continue;
            const auto rest = unresolved(std::max(batch->first(), retry.first),
                                         std::min(batch->last(), retry.last));
            for (const Range& range : rest) send_part(*batch, range, oversize);
        }
    }
    retries_.clear();
    FERRY_ASSERT(oversize.empty(), "what was sent over this connection once still fits");
}

void PublishPipe::abandon(Told& told) {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    abandoned_from_ = settled_;
    retries_.clear();
    to_send_.clear();
    settle(settled_ + 1, last_, told);
    kept_.clear();
    open_.reset();
    bytes_ = 0;
    room_.notify_all();
}

}  // namespace ferry::transport::native
