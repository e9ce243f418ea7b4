#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "varint.hpp"

namespace ferry::engine {

/// 128 bits of a message id.
struct IdHash {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const IdHash&) const = default;
};

/// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012). Among a million ids two are
/// taken for one with a chance of about 10^-27.
[[nodiscard]] IdHash hash_id(std::uint64_t key_low, std::uint64_t key_high, std::string_view id);

/// The ids that a queue has seen lately, oldest first: a ring of 24 bytes each, found by a hash
/// table of 8-byte slots that is at most 5/8 full; 37 to 74 bytes an id in all. A slot has bits of
/// the hash, so that a search looks into the ring only for the id that it found.
///
/// Threads   The engine's.
class IdWindow {
public:
    [[nodiscard]] bool contains(const IdHash& id) const;
    /// The id is asked for soon: tables are larger than caches, and a look into them waits.
    void expect(const IdHash& id) const {
        if (!table_.empty()) __builtin_prefetch(&table_[home(bits_of(id))], 1);
    }
    /// Requires !contains(id) and a time that is not before the last one's.
    void add(const IdHash& id, std::uint64_t now_ms);
    /// Takes back the newest.
    void take_back();
    /// Forgets those seen `window_ms` ago or more, and the oldest beyond `ids_max`.
    void trim(std::uint64_t now_ms, std::uint64_t window_ms, std::uint64_t ids_max);
    void clear() { *this = IdWindow(); }
    [[nodiscard]] std::uint64_t size() const { return next_ - first_; }

    void save(std::vector<std::byte>& out) const;
    [[nodiscard]] bool load(Reader& in);

private:
    struct Entry {
        IdHash id;
        std::uint64_t seen_ms = 0;
    };
    struct Slot {
        std::uint32_t place = 0;  // in the ring + 1; 0: free
        std::uint32_t hash = 0;   // the low bits of the id
    };

    [[nodiscard]] Entry& entry(std::uint64_t number) { return ring_[number & (ring_.size() - 1)]; }
    [[nodiscard]] const Entry& entry(std::uint64_t number) const {
        return ring_[number & (ring_.size() - 1)];
    }
    [[nodiscard]] static std::uint32_t bits_of(const IdHash& id) {
        return static_cast<std::uint32_t>(id.low);
    }
    [[nodiscard]] std::size_t home(std::uint32_t hash) const { return hash & (table_.size() - 1); }
    [[nodiscard]] std::uint32_t place_of(std::uint64_t number) const {
        return static_cast<std::uint32_t>(number & (ring_.size() - 1)) + 1;
    }
    void put(const IdHash& id, std::uint64_t number);
    void erase(std::uint64_t number);
    void grow_ring();
    void grow_table();

    std::vector<Entry> ring_;  // a power of two
    std::vector<Slot> table_;  // a power of two
    std::uint64_t first_ = 0;  // numbers of entries, from the first one ever
    std::uint64_t next_ = 0;
};

}  // namespace ferry::engine
