#include <algorithm>

#include "ferry/transport/client.hpp"
#include "ferry/wire/limits.hpp"
#include "native/ask.hpp"
#include "native/decode.hpp"
#include "native/read_map.hpp"

// Locks: asking for them and looking at them. What happens while one is held is in lock_keeper.cpp.
namespace ferry::transport {

using native::ask;
using native::KeptLock;
using native::KeptLockPtr;
using native::lock_clock_ns;
using native::make_request;

namespace {

constexpr Timeout longest_wait{100LL * 365 * 24 * 3600 * 1000};

native::RequestPtr unlock_request(std::string_view name, std::string_view holder,
                                  std::uint64_t token) {
    auto request = make_request(wire::Verb::unlock, 4, true);
    wire::Encoder(request->fields).str(name).str(holder).uint(token).map(0);
    return request;
}

// Whatever the broker has of it, or gets of it yet, is let go.
void abandon(native::Core& core, const KeptLockPtr& kept) {
    std::uint64_t token = 0;
    {
        const std::lock_guard guard(kept->mutex);
        if (kept->phase == KeptLock::Phase::gone || kept->phase == KeptLock::Phase::refused) return;
        const bool had_it =
            kept->phase == KeptLock::Phase::held || kept->phase == KeptLock::Phase::lost;
        if (had_it) token = kept->token;
        kept->phase = KeptLock::Phase::gone;
    }
    core.locks().forget(*kept);
    core.post(unlock_request(kept->name, kept->holder, token));
}

// False: neither held nor refused in time, or the caller gave up.
bool wait_until_settled(KeptLock& kept, std::unique_lock<std::mutex>& lock, Timeout wait) {
    constexpr std::chrono::milliseconds ask_every{50};
    const bool for_ever = wait == Timeout::max();
    const auto deadline =
        std::chrono::steady_clock::now() + (for_ever ? Timeout{0} : std::min(wait, longest_wait));
    const auto settled = [&] { return kept.phase == KeptLock::Phase::held || kept.over(); };
    if (!kept.options.give_up) {
        if (!for_ever) return kept.changed.wait_until(lock, deadline, settled);
        kept.changed.wait(lock, settled);
        return true;
    }
    for (;;) {
        const auto next = std::chrono::steady_clock::now() + ask_every;
        const bool last = !for_ever && deadline <= next;
        if (kept.changed.wait_until(lock, last ? deadline : next, settled)) return true;
        if (last) return false;
        lock.unlock();
        const bool enough = kept.options.give_up();
        lock.lock();
        if (enough) return settled();
    }
}

Answer<KeptLockPtr> get(native::Core& core, std::string_view name, const LockOptions& options,
                        bool waits, Timeout wait) {
    if (core.on_io_thread()) {
        return ClientError{Errc::rejected, wire::Code::ok,
                           "this call waits, which a callback of the client must not"};
    }
    if (options.ttl_ms < limits::lock_ttl_ms_min || options.ttl_ms > limits::lock_ttl_ms_max) {
        return ClientError{Errc::rejected, wire::Code::bad_option,
                           "a lock's ttl_ms is 1000 to 86400000"};
    }
    auto kept = std::make_shared<KeptLock>();
    kept->name = name;
    kept->options = options;
    kept->holder = options.holder.empty() ? native::invented_name("lock-") : options.holder;
    kept->waits = waits;
    core.locks().add(kept);
    std::unique_lock lock(kept->mutex);
    if (!wait_until_settled(*kept, lock, wait)) {
        const bool in_line = kept->phase != KeptLock::Phase::asking;
        const std::string ahead = std::to_string(kept->ahead);
        lock.unlock();
        abandon(core, kept);
        if (in_line) {
            return ClientError{Errc::would_block, wire::Code::lock_held,
                               "lock '" + std::string(name) + "' was not free in time; " + ahead +
                                   " waited before this one"};
        }
        return ClientError{
            Errc::unreachable, wire::Code::ok,
            "the broker did not answer in time about lock '" + std::string(name) + "'"};
    }
    if (kept->phase == KeptLock::Phase::held) return kept;
    if (kept->phase == KeptLock::Phase::refused) return kept->error;
    return ClientError{Errc::indeterminate, wire::Code::lock_not_held,
                       "the lock was lost as soon as it was granted"};
}

bool read_party(wire::Cursor& cursor, LockParty& out) {
    return native::each_entry(cursor, [&](std::string_view key, wire::Cursor& c) {
        if (key == "holder") return native::read_text(c, out.holder);
        if (key == "session") return c.read_uint(out.session);
        if (key == "token") return c.read_uint(out.token);
        if (key == "ttl_ms") return c.read_uint(out.ttl_ms);
        if (key == "left_ms") return c.read_uint(out.left_ms);
        return false;
    });
}

bool read_parties(wire::Cursor& cursor, std::vector<LockParty>& out) {
    return native::each_element(cursor, [&](wire::Cursor& inner) {
        LockParty party;
        if (!read_party(inner, party)) return false;
        out.push_back(std::move(party));
        return true;
    });
}

bool read_lock(wire::Cursor& cursor, LockInfo& out) {
    return native::each_entry(cursor, [&](std::string_view key, wire::Cursor& c) {
        if (key == "name") return native::read_text(c, out.name);
        if (key == "permits") return c.read_uint(out.permits);
        if (key == "holding") return c.read_uint(out.holding);
        if (key == "waiting") return c.read_uint(out.waiting);
        if (key == "delayed") return c.read_uint(out.delayed);
        if (key == "delay_left_ms") return c.read_uint(out.delay_left_ms);
        if (key == "holders") return read_parties(c, out.holders);
        if (key == "waiters") return read_parties(c, out.waiters);
        return false;
    });
}

}  // namespace

namespace native {

bool decode_lock_answer(Bytes result, std::uint64_t& token, std::uint64_t& ahead) {
    wire::Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, wire::Cursor& c) {
        if (key == "token") return c.read_uint(token);
        if (key == "ahead") return c.read_uint(ahead);
        return false;
    });
}

bool decode_lock(Bytes result, LockInfo& out) {
    wire::Cursor cursor(result);
    return read_lock(cursor, out);
}

bool decode_lock_page(Bytes result, LockPage& out) {
    wire::Cursor cursor(result);
    return each_entry(cursor, [&](std::string_view key, wire::Cursor& c) {
        if (key == "more") return c.read_bool(out.more);
        if (key != "locks") return false;
        return each_element(c, [&](wire::Cursor& inner) {
            LockInfo lock;
            if (!read_lock(inner, lock)) return false;
            out.locks.push_back(std::move(lock));
            return true;
        });
    });
}

}  // namespace native

// ---- Client ----

Answer<std::unique_ptr<Lock>> Client::lock(std::string_view name, const LockOptions& options,
                                           Timeout wait) {
    auto kept = get(*core_, name, options, true, wait);
    if (!kept.ok()) return kept.error();
    return std::unique_ptr<Lock>(new Lock(core_, std::move(kept.value())));
}

Answer<std::unique_ptr<Lock>> Client::try_lock(std::string_view name, const LockOptions& options,
                                               Timeout timeout) {
    auto kept = get(*core_, name, options, false, core_->timeout_or_default(timeout));
    if (!kept.ok()) return kept.error();
    return std::unique_ptr<Lock>(new Lock(core_, std::move(kept.value())));
}

Answer<LockPage> Client::list_locks(std::string_view after, std::uint32_t at_most,
                                    Timeout timeout) {
    auto request = make_request(wire::Verb::lock_list, 2, true);
    wire::Encoder(request->fields).str(after).uint(at_most);
    return ask<LockPage>(*core_, request, timeout, native::decode_lock_page);
}

Answer<LockInfo> Client::show_lock(std::string_view name, Timeout timeout) {
    auto request = make_request(wire::Verb::lock_show, 1, true);
    wire::Encoder(request->fields).str(name);
    return ask<LockInfo>(*core_, request, timeout, native::decode_lock);
}

Answer<std::uint64_t> Client::force_unlock(std::string_view name, std::uint64_t token,
                                           Timeout timeout) {
    auto request = make_request(wire::Verb::unlock, 4, false);
    wire::Encoder(request->fields).str(name).str("").uint(token).map(1).str("force").boolean(true);
    return ask<std::uint64_t>(*core_, request, timeout, [](Bytes result, std::uint64_t& out) {
        return native::decode_figure(result, "messages", out);
    });
}

// ---- Lock ----

Lock::Lock(std::shared_ptr<native::Core> core, std::shared_ptr<native::KeptLock> kept)
    : core_(std::move(core)), kept_(std::move(kept)) {}

Lock::~Lock() {
    abandon(*core_, kept_);
}

LockState Lock::state() const {
    const std::lock_guard guard(kept_->mutex);
    const std::uint64_t now = lock_clock_ns();
    // Once it was seen to be lost it stays so, also if a renewal was under way.
    if (kept_->phase == KeptLock::Phase::held && now >= kept_->lost_at)
        kept_->phase = KeptLock::Phase::lost;
    return kept_->state(now);
}

std::uint64_t Lock::token() const {
    return kept_->token;
}
const std::string& Lock::name() const {
    return kept_->name;
}
const std::string& Lock::holder() const {
    return kept_->holder;
}

Timeout Lock::remaining() const {
    const std::lock_guard guard(kept_->mutex);
    const std::uint64_t now = lock_clock_ns();
    if (kept_->phase != KeptLock::Phase::held || now >= kept_->lost_at) return Timeout{0};
    return Timeout{static_cast<Timeout::rep>((kept_->lost_at - now) / 1'000'000)};
}

Answer<Done> Lock::renew(Timeout timeout) {
    auto request = make_request(wire::Verb::lock_renew, 3, false);
    wire::Encoder(request->fields).str(kept_->name).str(kept_->holder).uint(kept_->token);
    if (state() == LockState::lost) {
        return ClientError{Errc::rejected, wire::Code::lock_not_held, "the lock was lost before"};
    }
    const std::uint64_t sent_at = lock_clock_ns();
    const auto answer = core_->call(std::move(request), timeout);
    const std::lock_guard guard(kept_->mutex);
    const bool not_held = !answer.ok() && answer.error().wire_code == wire::Code::lock_not_held;
    if (not_held && kept_->phase == KeptLock::Phase::held) kept_->phase = KeptLock::Phase::lost;
    if (!answer.ok()) return answer.error();
    if (kept_->phase != KeptLock::Phase::held || lock_clock_ns() >= kept_->lost_at) {
        return ClientError{Errc::rejected, wire::Code::lock_not_held,
                           "the lock was lost meanwhile"};
    }
    native::count_from(*kept_, sent_at);
    return Done{};
}

Answer<Done> Lock::release(Timeout timeout) {
    {
        const std::lock_guard guard(kept_->mutex);
        if (kept_->phase == KeptLock::Phase::gone) {
            return ClientError{Errc::rejected, wire::Code::lock_not_held,
                               "the lock was released before"};
        }
        kept_->phase = KeptLock::Phase::gone;
    }
    core_->locks().forget(*kept_);
    const auto answer =
        core_->call(unlock_request(kept_->name, kept_->holder, kept_->token), timeout);
    if (!answer.ok()) return answer.error();
    return Done{};
}

}  // namespace ferry::transport
