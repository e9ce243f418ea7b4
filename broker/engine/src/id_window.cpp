#include "id_window.hpp"

#include <algorithm>
#include <bit>

#include "ferry/platform/assert.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::engine {
namespace {

constexpr std::size_t ring_min = 64;

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

std::size_t IdWindow::find(const IdHash& id) const {
    if (table_.empty()) return not_found;
    for (std::size_t at = home(id); table_[at] != 0; at = (at + 1) & (table_.size() - 1)) {
        if (ring_[table_[at] - 1].id == id) return at;
    }
    return not_found;
}

bool IdWindow::contains(const IdHash& id) const {
    return find(id) != not_found;
}

void IdWindow::put(const IdHash& id, std::uint64_t number) {
    std::size_t at = home(id);
    while (table_[at] != 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = static_cast<std::uint32_t>(number & (ring_.size() - 1)) + 1;
}

void IdWindow::grow() {
    std::vector<Entry> old(std::max(ring_min, ring_.size() * 2));
    old.swap(ring_);
    table_.assign(ring_.size() * 2, 0);
    for (std::uint64_t n = first_; n < next_; ++n) {
        entry(n) = old[n & (old.size() - 1)];
        put(entry(n).id, n);
    }
}

void IdWindow::add(const IdHash& id, std::uint64_t now_ms) {
    if (size() == ring_.size()) grow();
    entry(next_) = {id, now_ms};
    put(id, next_);
    ++next_;
}

// Closes the gap, so that a free slot still ends every search.
void IdWindow::erase(const IdHash& id) {
    std::size_t gap = find(id);
    FERRY_ASSERT(gap != not_found, "what is in the ring is in the table");
    const std::size_t mask = table_.size() - 1;
    for (std::size_t at = (gap + 1) & mask; table_[at] != 0; at = (at + 1) & mask) {
        const std::size_t wanted = home(ring_[table_[at] - 1].id);
        if (((at - wanted) & mask) < ((at - gap) & mask)) continue;
        table_[gap] = table_[at];
        gap = at;
    }
    table_[gap] = 0;
}

void IdWindow::take_back() {
    FERRY_ASSERT(size() > 0, "there is one to take back");
    erase(entry(--next_).id);
}

void IdWindow::trim(std::uint64_t now_ms, std::uint64_t window_ms, std::uint64_t ids_max) {
    while (size() > 0 && (size() > ids_max || entry(first_).seen_ms + window_ms <= now_ms)) {
        erase(entry(first_).id);
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
