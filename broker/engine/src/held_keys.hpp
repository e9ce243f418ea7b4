#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ferry/engine/types.hpp"

namespace ferry::engine {

/// The keys of an ordered queue that are held: a table with open addressing, because each message
/// looks into it three times. Key numbers are hashes already. Nobody walks it, so the order of what
/// lies in it matters to nothing.
///
/// Threads   The engine's. Pointers and references hold until the next key is added or removed.
/// Memory    24 bytes per place, at least half of which are used when it has just grown; it keeps
///           the size for as many keys as were held at once, until clear().
class HeldKeys {
public:
    static constexpr std::uint32_t none = UINT32_MAX;
    struct Held {
        Position by = 0;
        KeyNumber key = 0;           // 0: nothing lies here
        std::uint32_t first = none;  // entries of those that wait
        std::uint32_t last = none;
    };

    [[nodiscard]] Held* find(KeyNumber key) {
        Held& place = places_[seek(key)];
        return place.key == key ? &place : nullptr;
    }
    [[nodiscard]] const Held* find(KeyNumber key) const {
        const Held& place = places_[seek(key)];
        return place.key == key ? &place : nullptr;
    }
    /// The key will be looked for soon.
    void expect(KeyNumber key) const { __builtin_prefetch(&places_[home(key)]); }
    /// What is held of this key; if nothing was, `by` holds it now. Requires a key that is not 0.
    Held& find_or_add(KeyNumber key, Position by) {
        std::size_t at = seek(key);
        if (places_[at].key != key && (size_ + 1) * 2 > places_.size()) {
            grow();
            at = seek(key);
        }
        last_ = at;
        if (places_[at].key == key) return places_[at];
        ++size_;
        return places_[at] = Held{by, key, none, none};
    }
    /// Requires what find() returned just before.
    void remove(const Held* held) {
        auto gap = static_cast<std::size_t>(held - places_.data());
        // What lies behind it moves up if its search began at or before the gap.
        for (std::size_t at = after(gap); places_[at].key != 0; at = after(at)) {
            const std::size_t from_home = (at - home(places_[at].key)) & (places_.size() - 1);
            const std::size_t from_gap = (at - gap) & (places_.size() - 1);
            if (from_home < from_gap) continue;
            places_[gap] = places_[at];
            gap = at;
        }
        places_[gap] = Held{};
        --size_;
    }
    void clear() {
        places_.assign(places_min, Held{});
        places_.shrink_to_fit();
        size_ = last_ = 0;
    }
    [[nodiscard]] std::size_t size() const { return size_; }

private:
    static constexpr std::size_t places_min = 64;  // a power of two, as all later sizes

    // The lowest bits say the slot, and a consumer has many keys of few slots: all bits count.
    [[nodiscard]] std::size_t home(KeyNumber key) const {
        return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ULL) >> 32U) &
               (places_.size() - 1);
    }
    [[nodiscard]] std::size_t after(std::size_t at) const {
        return (at + 1) & (places_.size() - 1);
    }
    [[nodiscard]] std::size_t seek(KeyNumber key) const {
        if (places_[last_].key == key) return last_;
        std::size_t at = home(key);
        while (places_[at].key != 0 && places_[at].key != key) at = after(at);
        return at;
    }
    void grow() {
        std::vector<Held> old(places_.size() * 2);
        old.swap(places_);
        for (const Held& held : old) {
            if (held.key != 0) places_[seek(held.key)] = held;
        }
    }

    std::vector<Held> places_ = std::vector<Held>(places_min);
    std::size_t size_ = 0;
    std::size_t last_ = 0;  // what find_or_add() found: who asked for it asks for it again
};

}  // namespace ferry::engine
