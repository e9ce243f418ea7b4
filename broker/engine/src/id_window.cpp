#include "id_window.hpp"

#include <algorithm>
#include <bit>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t ring_min = 64;
constexpr std::uint64_t looked_ahead = 8;  // slots of so many ids are on their way from memory

struct Sip {
    std::uint64_t v0, v1, v2, v3;

    void round() {
        v0 += v1;
        v1 = std::rotl(v1, 13) ^ v0;
        v0 = std::rotl(v0, 32);
        v2 += v3;
        v3 = std::rotl(v3, 16) ^ v2;
        v0 += v3;
        v3 = std::rotl(v3, 21) ^ v0;
        v2 += v1;
        v1 = std::rotl(v1, 17) ^ v2;
        v2 = std::rotl(v2, 32);
    }
    void take(std::uint64_t word) {
        v3 ^= word;
        round();
        round();
        v0 ^= word;
    }
    std::uint64_t finish() {
        for (int i = 0; i < 4; ++i) round();
        return v0 ^ v1 ^ v2 ^ v3;
    }
};

}  // namespace

IdHash hash_id(std::uint64_t key_low, std::uint64_t key_high, std::string_view id) {
    Sip sip{key_low ^ 0x736f6d6570736575ULL, key_high ^ 0x646f72616e646f6dULL ^ 0xeeU,
            key_low ^ 0x6c7967656e657261ULL, key_high ^ 0x7465646279746573ULL};
    const Bytes bytes = as_bytes(id);
    std::size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) sip.take(load_le<std::uint64_t>(bytes.data() + at));
    std::uint64_t last = static_cast<std::uint64_t>(bytes.size()) << 56;
    for (unsigned shift = 0; at < bytes.size(); ++at, shift += 8)
        last |= static_cast<std::uint64_t>(bytes[at]) << shift;
    sip.take(last);
    sip.v2 ^= 0xeeU;
    IdHash hash;
    hash.low = sip.finish();
    sip.v1 ^= 0xddU;
    hash.high = sip.finish();
    return hash;
}

bool IdWindow::contains(const IdHash& id) const {
    if (table_.empty()) return false;
    const std::uint32_t hash = bits_of(id);
    const std::size_t mask = table_.size() - 1;
    for (std::size_t at = home(hash); table_[at].place != 0; at = (at + 1) & mask) {
        if (table_[at].hash == hash && ring_[table_[at].place - 1].id == id) return true;
    }
    return false;
}

void IdWindow::put(const IdHash& id, std::uint64_t number) {
    const std::uint32_t hash = bits_of(id);
    const std::size_t mask = table_.size() - 1;
    std::size_t at = home(hash);
    while (table_[at].place != 0) at = (at + 1) & mask;
    table_[at] = {place_of(number), hash};
}

void IdWindow::grow_ring() {
    std::vector<Entry> old(std::max(ring_min, ring_.size() * 2));
    old.swap(ring_);
    for (std::uint64_t n = first_; n < next_; ++n) entry(n) = old[n & (old.size() - 1)];
    grow_table();
}

// Makes the table anew, larger if it is full: places in the ring have changed.
void IdWindow::grow_table() {
    const bool full = (size() + 1) * 8 > table_.size() * 5;
    table_.assign(std::max(ring_min, full ? table_.size() * 2 : table_.size()), {});
    for (std::uint64_t n = first_; n < next_; ++n) {
        expect(entry(n + looked_ahead).id);
        put(entry(n).id, n);
    }
}

void IdWindow::add(const IdHash& id, std::uint64_t now_ms) {
    if (size() == ring_.size()) grow_ring();
    if ((size() + 1) * 8 > table_.size() * 5) grow_table();
    entry(next_) = {id, now_ms};
    put(id, next_);
    ++next_;
}

// Closes the gap, so that a free slot still ends every search.
void IdWindow::erase(std::uint64_t number) {
    const std::size_t mask = table_.size() - 1;
    const std::uint32_t place = place_of(number);
    std::size_t gap = home(bits_of(entry(number).id));
    while (table_[gap].place != place) {
        FERRY_ASSERT(table_[gap].place != 0, "what is in the ring is in the table");
        gap = (gap + 1) & mask;
    }
    for (std::size_t at = (gap + 1) & mask; table_[at].place != 0; at = (at + 1) & mask) {
        const std::size_t wanted = home(table_[at].hash);
        if (((at - wanted) & mask) < ((at - gap) & mask)) continue;
        table_[gap] = table_[at];
        gap = at;
    }
    table_[gap] = {};
}

void IdWindow::take_back() {
    FERRY_ASSERT(size() > 0, "there is one to take back");
    erase(--next_);
}

void IdWindow::trim(std::uint64_t now_ms, std::uint64_t window_ms, std::uint64_t ids_max) {
    while (size() > 0 && (size() > ids_max || entry(first_).seen_ms + window_ms <= now_ms)) {
        expect(entry(first_ + looked_ahead).id);
        erase(first_);
        ++first_;
    }
}

void IdWindow::save(std::vector<std::byte>& out) const {
    put_varint(out, size());
    std::uint64_t seen_ms = 0;
    for (std::uint64_t n = first_; n < next_; ++n) {
        const Entry& e = entry(n);
        put_u64(out, e.id.low);
        put_u64(out, e.id.high);
        put_varint(out, e.seen_ms - std::min(seen_ms, e.seen_ms));
        seen_ms = std::max(seen_ms, e.seen_ms);
    }
}

bool IdWindow::load(Reader& in) {
    const std::size_t count = in.count(17);
    std::uint64_t seen_ms = 0;
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        IdHash id;
        id.low = in.u64();
        id.high = in.u64();
        const std::uint64_t step = in.varint();
        if (step > UINT64_MAX / 2 - seen_ms || contains(id)) in.reject();
        seen_ms += step;
        if (in.ok()) add(id, seen_ms);
    }
    return in.ok();
}

}  // namespace ferry::engine
