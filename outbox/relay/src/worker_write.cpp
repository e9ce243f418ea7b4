#include <algorithm>

#include "ferry/platform/fault_point.hpp"
#include "worker.hpp"

// What is finished is written down in steps: each is short, and between two of them the database
// belongs to the application.
namespace ferry::outbox::relay {
namespace {

constexpr std::uint64_t mark_delay_ms = 20;  // marks gather so long
constexpr std::uint64_t rows_per_step_min = 50;
constexpr std::uint64_t rows_beside_reserve_max = 200;
// How long a step may hold the write lock, when the application writes too and when it does not.
constexpr std::uint64_t step_active_ns = 1'000'000;
constexpr std::uint64_t step_quiet_ns = 8'000'000;
constexpr std::uint64_t retry_min_ms = 5;
constexpr std::uint64_t retry_max_ms = 30'000;
constexpr std::uint64_t retry_busy_max_ms = 250;
constexpr std::uint64_t retry_reserve_max_ms = 5;  // messages wait for it

}  // namespace

void Worker::write_if_due(std::uint64_t now) {
    if (!leading_) return;
    if (sync_wanted_ && core_.refusals().empty()) sync_parked(now);
    if (expire_more_) expire(now);
    const IdRanges& finished = core_.finished();
    if (finished.empty() && core_.refusals().empty()) return;
    if (now < write_retry_) return;
    const bool hurry = stopping() || options_.once || !core_.refusals().empty();
    const bool enough = finished.count() >= options_.mark_rows_max;
    if (!hurry && !enough && now < finished_since_ + mark_delay_ms) {
        write_after_ = finished_since_ + mark_delay_ms;
        return;
    }
    if (!hurry && now < write_after_) return;
    write(0);
}

bool Worker::write(std::uint64_t reserve) {
    const bool active = now_ms() < active_until_;
    WriteWish wish;
    wish.finished = &core_.finished();
    // What the operator allows counts for more than what is quick.
    wish.rows_max = static_cast<std::uint32_t>(std::min<std::uint64_t>(
        std::max<std::uint64_t>(write_rows_, rows_per_step_min), options_.mark_rows_max));
    // Something waits to be sent: do not let it wait for housekeeping.
    if (reserve != 0) {
        wish.rows_max = std::min<std::uint32_t>(wish.rows_max, rows_beside_reserve_max);
    }
    wish.refusals = core_.refusals();
    wish.reserve = reserve;
    wish.confirmed_upto = core_.confirmed_upto();
    wish.wall_ms = wall_ms();
    wish.retain_ms = options_.retain_ms;
    const std::uint64_t begun_ns = clock_.now().mono.ns;
    FERRY_FAULT_POINT("relay.before_mark");
    const auto written = store_.write(wish);
    FERRY_FAULT_POINT("relay.after_mark");
    const std::uint64_t now = now_ms();
    if (!written.ok()) {
        if (written.error().kind == sqlite::Kind::conflict) {
            lose_lease("another relay has it");
            return false;
        }
        ++figures_.mark_failures;
        // What was sent stays known here and is not sent again, however long this lasts.
        const bool busy = written.error().retryable();
        if (busy || write_failures_ == 0) {
            trouble(written.error(), "what was sent could not be marked");
        }
        const std::uint64_t busy_cap = reserve != 0 ? retry_reserve_max_ms : retry_busy_max_ms;
        const std::uint64_t cap = busy ? busy_cap : retry_max_ms;
        const std::uint64_t wait = std::min(cap, retry_min_ms << std::min(write_failures_, 20U));
        ++write_failures_;
        write_retry_ = now + wait - random_.next() % (wait / 2 + 1);
        return false;
    }
    const std::uint64_t took_ns = clock_.now().mono.ns - begun_ns;
    write_failures_ = 0;
    write_retry_ = 0;
    for (const Range& range : written.value().marked) core_.marked(range);
    core_.refusals_written(wish.refusals.size());
    figures_.marked += written.value().rows;
    if (reserve != 0) reserved_ = reserve;
    finished_since_ = now;
    const std::uint64_t allowed_ns = active ? step_active_ns : step_quiet_ns;
    if (took_ns > allowed_ns) {
        write_rows_ = std::max(rows_per_step_min, write_rows_ / 2);
    } else if (written.value().rows >= wish.rows_max && reserve == 0) {
        write_rows_ =
            std::min<std::uint64_t>(options_.mark_rows_max, write_rows_ + write_rows_ / 4);
    }
    // Others get at least as much time as we took, and much more while they are at work.
    const std::uint64_t took_ms = took_ns / 1'000'000;
    write_after_ = now + std::max(active ? active_pause() : options_.mark_pause_ms / 4,
                                  active ? 10 * took_ms : took_ms / 4);
    return true;
}

// A commit that meets the write lock sleeps for a millisecond or more, however short the lock is:
// what counts is how often it is taken. So seldom, but enough to keep up with what is added.
std::uint64_t Worker::active_pause() const {
    const std::uint64_t least = options_.mark_pause_ms * 5;
    const double enough = static_cast<double>(write_rows_) / std::max(0.001, pace_.added_per_ms());
    return std::clamp(static_cast<std::uint64_t>(enough * 0.8), least, 10 * least);
}

void Worker::sync_parked(std::uint64_t now) {
    sync_wanted_ = false;
    if (core_.waiting() == 0) return;
    const auto rows = store_.parked(wall_ms());
    if (!rows.ok()) return trouble(rows.error(), "the parked messages could not be read");
    std::map<std::uint64_t, std::optional<std::uint64_t>> table;
    for (const ParkedRow& row : rows.value()) table[row.id] = row.retry_in_ms;
    core_.sync_parked(table, now);
}

void Worker::expire(std::uint64_t now) {
    expire_more_ = false;
    if (options_.retain_ms == 0 || now < write_retry_) return;
    const std::uint64_t wall = wall_ms();
    if (wall < options_.retain_ms) return;
    const auto more = store_.expire(wall - options_.retain_ms, 1000);
    if (!more.ok()) {
        if (more.error().kind == sqlite::Kind::conflict) return lose_lease("another relay has it");
        return trouble(more.error(), "old messages could not be deleted");
    }
    expire_more_ = more.value();
}

}  // namespace ferry::outbox::relay
