#include "network.hpp"

#include <algorithm>

namespace ferry::simulation {

void Connection::attach(Side side, End end) {
    ends_[side] = std::move(end);
    attached_[side] = true;
}

void Connection::detach(Side side) {
    attached_[side] = false;
}

void Connection::send(Side from, Bytes bytes) {
    Way& way = ways_[from];
    if (over_ || way.closing) return;
    way.bytes.insert(way.bytes.end(), bytes.begin(), bytes.end());
    if (!has_room(from)) was_full_[from] = true;
    plan(from);
}

void Connection::read(Side side, bool wanted) {
    if (reading_[side] == wanted) return;
    reading_[side] = wanted;
    if (wanted) plan(other(side));
}

void Connection::plan(Side from) {
    Way& way = ways_[from];
    if (over_ || way.planned || way.stalled_until == UINT64_MAX) return;
    if (way.at == way.bytes.size() && !way.closing) return;
    way.planned = true;
    std::uint64_t wait = world_.between(us, weather_.delay_ns_max);
    if (way.stalled_until > world_.now_ns()) wait += way.stalled_until - world_.now_ns();
    const ConnectionRef self = shared_from_this();
    world_.after(wait, life_, [self, from] { self->arrive(from); });
}

void Connection::arrive(Side from) {
    Way& way = ways_[from];
    way.planned = false;
    if (over_) return;
    if (way.stalled_until > world_.now_ns()) return plan(from);
    const Side to = other(from);
    if (attached_[to] && !reading_[to] && way.at < way.bytes.size()) return;
    const std::size_t end = std::min(way.bytes.size(), way.cut_at);
    const std::size_t count =
        std::min<std::size_t>(end - std::min(end, way.at), world_.between(1, weather_.chunk_max));
    if (count > 0) {
        const auto first = way.bytes.begin() + static_cast<std::ptrdiff_t>(way.at);
        const std::vector<std::byte> piece(first, first + static_cast<std::ptrdiff_t>(count));
        way.at += count;
        if (way.at > (64U << 10) && way.cut_at == SIZE_MAX) {
            way.bytes.erase(way.bytes.begin(),
                            way.bytes.begin() + static_cast<std::ptrdiff_t>(way.at));
            way.at = 0;
        }
        if (attached_[to]) {
            // Copied: what it calls may replace it.
            const auto call = ends_[to].on_bytes;
            call(piece);
        }
        if (over_) return;
        if (was_full_[from] && unread(from) <= weather_.window_bytes / 2) {
            was_full_[from] = false;
            if (attached_[from] && ends_[from].on_writable) {
                const auto call = ends_[from].on_writable;
                call();
            }
        }
    }
    if (over_) return;
    if (way.at >= way.cut_at) {
        over_ = true;
        tell_closed(client);
        tell_closed(broker);
        return;
    }
    if (way.at == way.bytes.size() && way.closing) {
        over_ = true;
        tell_closed(to);
        return;
    }
    plan(from);
}

void Connection::tell_closed(Side side) {
    if (!attached_[side]) return;
    attached_[side] = false;
    const auto call = ends_[side].on_closed;
    if (call) call();
}

void Connection::close(Side side) {
    detach(side);
    if (over_) return;
    ways_[side].closing = true;
    plan(side);
}

void Connection::reset(Side side) {
    detach(side);
    if (over_) return;
    const Side peer = other(side);
    if (ways_[side].stalled_until > world_.now_ns()) {
        // It is not told: it finds out by silence.
        ways_[side].closing = true;
        if (ways_[side].stalled_until != UINT64_MAX) plan(side);
        return;
    }
    over_ = true;
    const ConnectionRef self = shared_from_this();
    world_.after(world_.between(us, weather_.delay_ns_max), life_,
                 [self, peer] { self->tell_closed(peer); });
}

void Connection::cut() {
    if (over_) return;
    const Side from = world_.chance(500) ? client : broker;
    Way& way = ways_[from];
    way.cut_at = way.at + world_.below(way.bytes.size() - way.at + 1);
    way.stalled_until = 0;
    if (way.at >= way.cut_at) {
        over_ = true;
        tell_closed(client);
        tell_closed(broker);
        return;
    }
    plan(from);
}

void Connection::stall(Side from, std::uint64_t until_ns) {
    Way& way = ways_[from];
    way.stalled_until = std::max(way.stalled_until, until_ns);
}

}  // namespace ferry::simulation
