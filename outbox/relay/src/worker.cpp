#include "worker.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <utility>

namespace ferry::outbox::relay {
namespace {

constexpr std::uint64_t lease_look_ms = 1000;  // a relay that waits looks so often
constexpr std::uint64_t active_ms = 250;       // after an announced commit
// An announcement may come before the commit can be seen: look a few times more.
constexpr std::array<std::uint64_t, 3> looks_ms{2, 10, 50};

std::string random_hex(Random& random) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (int word = 0; word < 2; ++word) {
        std::uint64_t bits = random.next();
        for (int i = 0; i < 16; ++i, bits >>= 4) text.push_back(digits[bits & 15]);
    }
    return text;
}

}  // namespace

Worker::Worker(Options options, Store store, Waker& waker, Meter& meter)
    : options_(std::move(options)),
      clock_(options_.clock != nullptr ? *options_.clock : system_clock()),
      random_(options_.random != nullptr ? *options_.random : system_random()),
      store_(std::move(store)),
      waker_(waker),
      meter_(meter),
      mailbox_(waker),
      core_(options_.rules, random_),
      pace_(options_.active_rows_per_s),
      token_(random_hex(random_)) {
    if (options_.new_epoch) anew_.emplace(Anew::epoch, "that was asked for");
    struct stat file {};
    if (::stat(store_.path().c_str(), &file) == 0) {
        device_ = file.st_dev;
        inode_ = file.st_ino;
    }
}

Worker::~Worker() = default;

void Worker::log(LogLevel level, const std::string& line) const {
    if (options_.log) options_.log(level, line);
}

void Worker::trouble(const sqlite::Problem& problem, const char* doing) {
    if (problem.kind == sqlite::Kind::busy || problem.kind == sqlite::Kind::snapshot) {
        ++figures_.busy;
        return;
    }
    log(LogLevel::warning, std::string(doing) + ": " + problem.text);
}

void Worker::fail(std::string why) {
    log(LogLevel::error, why);
    const std::lock_guard lock(ended_mutex_);
    if (failure_.empty()) failure_ = std::move(why);
    stop_.store(Stop::at_once);
}

std::string Worker::failure() const {
    const std::lock_guard lock(ended_mutex_);
    return failure_;
}

void Worker::stop_gracefully(std::uint64_t patience_ms) {
    stop_patience_ms_.store(patience_ms);
    Stop expected = Stop::no;
    stop_.compare_exchange_strong(expected, Stop::gracefully);
    waker_.signal();
}

void Worker::stop_at_once() {
    stop_.store(Stop::at_once);
    waker_.signal();
}

bool Worker::wait_ended(std::chrono::milliseconds patience) {
    std::unique_lock lock(ended_mutex_);
    return ended_changed_.wait_for(lock, patience, [this] { return ended_; });
}

void Worker::run() {
    while (stop_.load() != Stop::at_once) {
        turn();
        if (stop_.load() == Stop::gracefully) {
            const std::uint64_t now = now_ms();
            if (!stop_by_.has_value()) stop_by_ = now + stop_patience_ms_.load();
            const bool drained =
                core_.in_flight() == 0 && core_.finished().empty() && core_.refusals().empty();
            if (!leading_ || drained) {
                clean_.store(true);
                break;
            }
            if (now >= *stop_by_) break;
        } else if (options_.once && all_done()) {
            clean_.store(true);
            break;
        }
        if (stop_.load() != Stop::at_once) sleep();
    }
    leave();
    measure_wanted_ = false;
    measure();
    const std::lock_guard lock(ended_mutex_);
    ended_ = true;
    ended_changed_.notify_all();
}

void Worker::leave() {
    disconnect();
    if (!leading_ || !failure().empty()) return;
    waker_.stop_listening(true);
    const auto released = store_.release_lease();
    if (!released.ok()) trouble(released.error(), "the lease could not be given back");
    leading_ = false;
}

void Worker::turn() {
    if (!lead()) return;
    std::uint64_t now = now_ms();
    if (!core_.connected() && now >= connect_at_ && !stopping()) connect(now);
    take_answers();
    now = now_ms();
    if (now >= fallback_at_) fallback_check(now);
    if (looks_left_ > 0 && now >= look_again_) {
        maybe_new_ = true;
        look_again_ = now + looks_ms[looks_ms.size() - looks_left_];
        --looks_left_;
    }
    if (core_.connected() && !stopping()) {
        send_due(now);
        send_new(now);
    }
    write_if_due(now_ms());
}

std::uint64_t Worker::step(bool announced) {
    note_wake(announced);
    turn();
    return rest_ms();
}

void Worker::sleep() {
    note_wake(waker_.wait(rest_ms()));
}

std::uint64_t Worker::rest_ms() {
    const std::uint64_t now = now_ms();
    std::uint64_t until = std::max(now, fallback_at_);
    const auto at = [&](std::uint64_t moment) { until = std::min(until, moment); };
    if (!leading_) {
        until = std::max(lease_retry_, now);
    } else {
        at(lease_renew_);
        if (!core_.connected()) at(connect_at_);
        if (maybe_more_ && core_.may_send(now)) at(std::max(now, paced_until_));
        if (looks_left_ > 0) at(look_again_);
        if (const auto due = core_.next_due(now); due.has_value() && core_.connected()) {
            if (core_.room(*due) > 0) at(*due);
        }
        const bool to_write =
            !core_.finished().empty() || !core_.refusals().empty() || expire_more_;
        if (to_write || (maybe_new_ && write_retry_ > now))
            at(std::max(write_after_, write_retry_));
    }
    if (stop_by_.has_value()) at(*stop_by_);
    measure();
    return until > now ? until - now : 0;
}

void Worker::note_wake(bool woken_by_commit) {
    if (!announced_.exchange(false) && !woken_by_commit) return;
    ++figures_.wakes;
    const std::uint64_t woken = now_ms();
    active_until_ = woken + active_ms;
    maybe_new_ = true;
    looks_left_ = looks_ms.size();
    look_again_ = woken + looks_ms.front();
}

// ---- the lease ----

bool Worker::lead() {
    const std::uint64_t now = now_ms();
    if (!leading_) return now >= lease_retry_ && !stopping() && take_lease(now);
    if (now < lease_renew_) return true;
    return renew_lease(now);
}

bool Worker::take_lease(std::uint64_t now) {
    lease_retry_ = now + lease_look_ms;
    const auto read = store_.lease();
    if (!read.ok()) {
        if (read.error().kind == sqlite::Kind::schema ||
            read.error().kind == sqlite::Kind::corrupt) {
            fail(read.error().text);
        } else {
            trouble(read.error(), "the lease could not be read");
        }
        return false;
    }
    const Store::Lease& lease = read.value();
    const bool same = lease.fence == seen_lease_.fence && lease.owner == seen_lease_.owner &&
                      lease.until_ms == seen_lease_.until_ms && seen_since_ != 0;
    if (!same) {
        seen_lease_ = lease;
        seen_since_ = now;
    }
    // Whoever has not renewed for a whole lease, by our own monotonic clock, is dead whatever the
    // wall clocks say.
    const bool silent = same && now - seen_since_ >= options_.lease_ms;
    const std::uint64_t wall = wall_ms();
    if (!lease.owner.empty() && lease.until_ms > wall && !silent) {
        lease_retry_ = std::min(lease_retry_, now + (lease.until_ms - wall) + 1);
        return false;
    }
    const auto taken = store_.take_lease(lease, token_, wall + options_.lease_ms);
    if (!taken.ok()) {
        if (taken.error().kind != sqlite::Kind::conflict) {
            trouble(taken.error(), "the lease could not be taken");
        }
        lease_retry_ = now + 50 + random_.next() % 100;
        return false;
    }
    leading_ = true;
    lease_ends_ = now + options_.lease_ms;
    lease_renew_ = now + options_.lease_ms / 3;
    connect_at_ = now;
    fallback_at_ = now;
    maybe_new_ = true;
    if (!waker_.listen(store_.path())) {
        log(LogLevel::warning,
            "commits of other processes cannot be announced here; they are found once in " +
                std::to_string(options_.fallback_ms) + " ms");
    }
    log(LogLevel::info,
        "this relay works for " + store_.path() + ", fence " + std::to_string(taken.value()));
    return true;
}

bool Worker::renew_lease(std::uint64_t now) {
    const auto renewed = store_.renew_lease(wall_ms() + options_.lease_ms);
    if (renewed.ok()) {
        lease_ends_ = now + options_.lease_ms;
        lease_renew_ = now + options_.lease_ms / 3;
        return true;
    }
    if (renewed.error().kind == sqlite::Kind::conflict) {
        lose_lease("another relay has it");
        return false;
    }
    trouble(renewed.error(), "the lease could not be renewed");
    if (now >= lease_ends_) {
        lose_lease("it could not be renewed in time");
        return false;
    }
    lease_renew_ = now + std::max<std::uint64_t>(options_.lease_ms / 20, 10);
    return true;
}

void Worker::lose_lease(const char* why) {
    log(LogLevel::warning, std::string("the lease is lost: ") + why +
                               "; what was under way is found again by its new owner");
    ++figures_.leases_lost;
    leading_ = false;
    seen_since_ = 0;
    lease_retry_ = now_ms() + lease_look_ms;
    waker_.stop_listening(false);
    disconnect();
    anew_.reset();
    core_.forget_finished();
    core_.refusals_written(core_.refusals().size());
}

// ---- once in a while ----

bool Worker::all_done() {
    if (!leading_ || !core_.connected() || maybe_new_ || maybe_more_) return false;
    return core_.idle() && core_.finished().empty() && core_.refusals().empty();
}

void Worker::fallback_check(std::uint64_t now) {
    fallback_at_ = now + options_.fallback_ms;
    maybe_new_ = true;
    check_file();
    if (!leading_) return;
    check_numbers();
    sync_wanted_ = core_.connected();
    measure_wanted_ = true;
    expire(now);
}

// A restored file takes the place of the one that this connection still has open.
void Worker::check_file() {
    struct stat file {};
    const std::string path = store_.path();
    if (::stat(path.c_str(), &file) != 0) return;
    if (file.st_dev == device_ && file.st_ino == inode_) return;
    log(LogLevel::warning, path + " was replaced by another file; it is opened anew");
    auto opened = Store::open(path);
    if (!opened.ok()) {
        trouble(opened.error(), "the new file cannot be used");
        return;
    }
    lose_lease("it was one of the former file");
    store_ = std::move(opened).value();
    device_ = file.st_dev;
    inode_ = file.st_ino;
    lease_retry_ = 0;
}

// Ids only grow. If they do not, somebody emptied or rebuilt the table.
void Worker::check_numbers() {
    if (!core_.connected()) return;
    const auto last = store_.last_id();
    if (last.ok()) pace_.follow(last.value(), now_ms());
    if (!last.ok() || last.value() >= core_.read_after()) return;
    begin_anew(Anew::numbers, "the ids of the outbox began anew at " +
                                  std::to_string(last.value()) + ", below " +
                                  std::to_string(core_.read_after()));
}

void Worker::measure() {
    figures_.leading = leading_;
    figures_.connected = core_.connected();
    figures_.stuck = core_.stuck();
    figures_.parked = core_.parked();
    figures_.waiting = core_.waiting();
    figures_.in_flight = core_.in_flight();
    figures_.unmarked = core_.finished().count();
    figures_.epoch = epoch_;
    figures_.producer = producer_;
    figures_.floor = core_.connected() ? core_.floor() : 0;
    if (std::exchange(measure_wanted_, false) && leading_) {
        meter_.publish_beside(publisher_ ? publisher_->metrics() : std::string());
        const auto last = store_.max_id();
        const std::uint64_t read = core_.read_after();
        if (last.ok()) {
            const std::uint64_t unread = last.value() > read ? last.value() - read : 0;
            figures_.lag_rows = unread + core_.in_flight() + core_.waiting();
        }
        const auto created = store_.created_ms_from(core_.connected() ? core_.floor() : 0);
        const std::uint64_t wall = wall_ms();
        const bool lags = created.ok() && created.value().has_value() && *created.value() < wall;
        figures_.lag_seconds = lags ? static_cast<double>(wall - *created.value()) / 1000.0 : 0;
        struct stat file {};
        if (::stat((store_.path() + "-wal").c_str(), &file) == 0) {
            figures_.wal_bytes = static_cast<std::uint64_t>(file.st_size);
        }
    }
    meter_.publish(figures_, histogram_);
}

}  // namespace ferry::outbox::relay
