#include "native/lock_keeper.hpp"

#include <time.h>

#include <algorithm>

#include "native/core.hpp"
#include "native/decode.hpp"

namespace ferry::transport::native {
namespace {

constexpr std::uint64_t ns_per_ms = 1'000'000;
// The timer rings at least so often: while the machine sleeps its clock stands still, and ours does
// not.
constexpr std::uint64_t look_ms_max = 1'000;
// A part of the time to live, for clocks that do not run alike.
constexpr std::uint64_t early_part = 20;
constexpr std::uint64_t retry_part = 10;

ClientError answer_malformed() {
    return ClientError{Errc::indeterminate, wire::Code::ok,
                       "the broker's answer about a lock is malformed"};
}

}  // namespace

std::uint64_t lock_clock_ns() {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

LockState KeptLock::state(std::uint64_t now) const {
    if (phase != Phase::held || now >= lost_at) return LockState::lost;
    return connected && now < unsure_at ? LockState::held : LockState::unsure;
}

void count_from(KeptLock& lock, std::uint64_t sent_at) {
    const std::uint64_t ttl = lock.options.ttl_ms * ns_per_ms;
    lock.renew_at = sent_at + ttl / 3;
    lock.unsure_at = sent_at + ttl * 2 / 3;
    lock.lost_at = sent_at + ttl - ttl / early_part;
    lock.connected = true;
}

// ---- any thread ----

void LockKeeper::add(const KeptLockPtr& lock) {
    {
        const std::lock_guard guard(mutex_);
        locks_.push_back(lock);
        fresh_ = true;
    }
    core_.wake();
}

void LockKeeper::forget(const KeptLock& lock) {
    const std::lock_guard guard(mutex_);
    std::erase_if(locks_, [&](const KeptLockPtr& one) { return one.get() == &lock; });
}

std::vector<KeptLockPtr> LockKeeper::all() {
    const std::lock_guard guard(mutex_);
    return locks_;
}

// ---- the I/O thread ----

void LockKeeper::pump() {
    {
        const std::lock_guard guard(mutex_);
        if (!fresh_ && (generation_ == core_.generation() || locks_.empty())) return;
        fresh_ = false;
        generation_ = core_.generation();
    }
    for (const KeptLockPtr& lock : all()) {
        if (lock->generation == core_.generation()) continue;
        lock->generation = core_.generation();
        lock->renewing = false;
        KeptLock::Phase phase{};
        {
            const std::lock_guard guard(lock->mutex);
            phase = lock->phase;
        }
        if (phase == KeptLock::Phase::asking || phase == KeptLock::Phase::waiting) {
            ask(lock);
        } else if (phase == KeptLock::Phase::held || phase == KeptLock::Phase::granted) {
            renew(lock);
        }
    }
}

void LockKeeper::ask(const KeptLockPtr& lock) {
    const RequestPtr request = core_.session_request(wire::Verb::lock, 3);
    wire::Encoder out(request->fields);
    const LockOptions& options = lock->options;
    out.str(lock->name).str(lock->holder).map(options.delay_ms ? 4 : 3);
    out.str("ttl_ms").uint(options.ttl_ms).str("permits").uint(options.permits);
    out.str("wait").boolean(lock->waits);
    if (options.delay_ms) out.str("delay_ms").uint(*options.delay_ms);
    const std::uint64_t sent_at = lock_clock_ns();
    request->on_done = [this, lock, sent_at](const Request& answered) {
        on_answer(lock, sent_at, answered);
    };
    core_.send(request);
    lock->request = request->id;
}

void LockKeeper::on_answer(const KeptLockPtr& lock, std::uint64_t sent_at,
                           const Request& answered) {
    bool again = false;
    bool over = false;
    {
        const std::lock_guard guard(lock->mutex);
        if (lock->over()) return;
        std::uint64_t token = 0;
        if (answered.failed) {
            lock->phase = KeptLock::Phase::refused;
            lock->error = answered.error;
            over = true;
        } else if (!decode_lock_answer(answered.result, token, lock->ahead)) {
            lock->phase = KeptLock::Phase::refused;
            lock->error = answer_malformed();
            over = true;
        } else if (token == 0) {
            lock->phase = KeptLock::Phase::waiting;
        } else {
            lock->token = token;
            lock->phase = KeptLock::Phase::held;
            count_from(*lock, sent_at);
            again = true;
        }
        lock->changed.notify_all();
    }
    if (over) forget(*lock);
    if (again) look();
}

void LockKeeper::on_told(std::uint64_t request, std::string_view name, std::uint64_t token,
                         bool granted) {
    for (const KeptLockPtr& lock : all()) {
        if (lock->name != name || lock->generation != core_.generation()) continue;
        bool mine = false;
        {
            const std::lock_guard guard(lock->mutex);
            if (granted && lock->request == request && lock->phase == KeptLock::Phase::waiting) {
                lock->token = token;
                lock->phase = KeptLock::Phase::granted;
                mine = true;
            } else if (!granted && token == lock->token) {
                mine = lock->phase == KeptLock::Phase::held;
                if (lock->phase == KeptLock::Phase::granted) lock->phase = KeptLock::Phase::asking;
            }
        }
        if (!mine) continue;
        if (granted) {
            renew(lock);
        } else {
            lose(lock);
        }
        return;
    }
}

void LockKeeper::renew(const KeptLockPtr& lock) {
    if (lock->renewing) return;
    lock->renewing = true;
    const RequestPtr request = core_.session_request(wire::Verb::lock_renew, 3);
    {
        const std::lock_guard guard(lock->mutex);
        wire::Encoder(request->fields).str(lock->name).str(lock->holder).uint(lock->token);
    }
    const std::uint64_t sent_at = lock_clock_ns();
    request->on_done = [this, lock, sent_at](const Request& answered) {
        on_renewed(lock, sent_at, answered);
    };
    core_.send(request);
    core_.wake();
}

void LockKeeper::on_renewed(const KeptLockPtr& lock, std::uint64_t sent_at,
                            const Request& answered) {
    lock->renewing = false;
    const bool not_held = answered.failed && answered.error.wire_code == wire::Code::lock_not_held;
    bool too_late = false;
    {
        const std::lock_guard guard(lock->mutex);
        if (lock->over()) return;
        const bool granted = lock->phase != KeptLock::Phase::held;
        if (not_held && granted) {
            lock->phase = KeptLock::Phase::asking;  // the grant ran out under way
        } else if (not_held) {
            too_late = true;
        } else if (answered.failed) {
            lock->renew_at = lock_clock_ns() + lock->options.ttl_ms * ns_per_ms / retry_part;
        } else if (!granted && lock_clock_ns() >= lock->lost_at) {
            too_late = true;  // who was told `lost`, or asked, must not see it come back
        } else {
            lock->phase = KeptLock::Phase::held;
            count_from(*lock, sent_at);
            lock->changed.notify_all();
        }
    }
    if (too_late) return lose(lock);
    bool asks = false;
    {
        const std::lock_guard guard(lock->mutex);
        asks = lock->phase == KeptLock::Phase::asking;
    }
    if (asks) ask(lock);
    look();
}

void LockKeeper::lose(const KeptLockPtr& lock) {
    {
        const std::lock_guard guard(lock->mutex);
        if (lock->over()) return;
        lock->phase = KeptLock::Phase::lost;
        lock->changed.notify_all();
    }
    forget(*lock);
    tell(lock);
}

void LockKeeper::tell(const KeptLockPtr& lock) {
    LockState state{};
    {
        const std::lock_guard guard(lock->mutex);
        if (lock->phase == KeptLock::Phase::gone) return;
        state = lock->state(lock_clock_ns());
        if (state == lock->told) return;
        lock->told = state;
    }
    if (lock->options.on_state) lock->options.on_state(state);
}

void LockKeeper::look() {
    const std::uint64_t now = lock_clock_ns();
    std::uint64_t next = UINT64_MAX;
    for (const KeptLockPtr& lock : all()) {
        bool lost = false;
        bool found_lost = false;
        bool renews = false;
        {
            const std::lock_guard guard(lock->mutex);
            // Who asked for the state may have found it lost before the timer rang.
            found_lost = lock->phase == KeptLock::Phase::lost;
            if (!found_lost && lock->phase != KeptLock::Phase::held) continue;
            lost = now >= lock->lost_at;
            renews = !lost && !found_lost && lock->options.auto_renew && now >= lock->renew_at &&
                     !lock->renewing && core_.serving();
            next = std::min(next, now < lock->unsure_at ? lock->unsure_at : lock->lost_at);
            if (!lock->renewing && lock->options.auto_renew && now < lock->renew_at)
                next = std::min(next, lock->renew_at);
        }
        if (found_lost) {
            forget(*lock);
            tell(lock);
            continue;
        }
        if (lost) {
            lose(lock);
            continue;
        }
        tell(lock);
        if (renews) renew(lock);
    }
    if (next == UINT64_MAX) return;
    const std::uint64_t wait_ms = next > now ? (next - now) / ns_per_ms + 1 : 1;
    core_.arm_lock_timer(std::min(wait_ms, look_ms_max));
}

void LockKeeper::lost() {
    for (const KeptLockPtr& lock : all()) {
        const std::lock_guard guard(lock->mutex);
        lock->connected = false;
    }
    look();
}

void LockKeeper::abandon(const ClientError& because) {
    for (const KeptLockPtr& lock : all()) {
        bool held = false;
        {
            const std::lock_guard guard(lock->mutex);
            held = lock->phase == KeptLock::Phase::held;
            if (!held && !lock->over()) {
                lock->phase = KeptLock::Phase::refused;
                lock->error = because;
            }
            lock->changed.notify_all();
        }
        if (held) lose(lock);  // nobody renews it any more
    }
    const std::lock_guard guard(mutex_);
    locks_.clear();
}

}  // namespace ferry::transport::native
