#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/platform/result.hpp"
#include "ferry/wire/limits.hpp"

namespace ferry::wire {

/// Consistent hashing: says which member has a key, so that a member that comes or goes moves only
/// the keys it gets or had: about K/N of K keys among N members.
///
/// Every member has 64 points per unit of weight on a circle of 2^64; a key belongs to the first
/// point at or behind its hash. Point i of a member (from 0) is XXH64(name, seed + i), a key's
/// hash is XXH64(key, seed). So the same members give the same map in every program, on every
/// machine and whatever the order in which they were added.
///
/// Sources  Karger et al., Consistent Hashing and Random Trees (STOC 1997); several points per
///          member as in Chord (Stoica et al., 2001) and Dynamo (DeCandia et al., 2007); bounded
///          loads as in Mirrokni, Thorup and Zadimoghaddam (SODA 2018).
/// Threads  None of its own; const functions may run at the same time.
/// Memory   16 bytes per point, at most limits::ring_points_max of them. Looking up takes none.
class HashRing {
public:
    /// Valid until the member is removed. `index` is small and used again after a removal.
    struct Member {
        std::string name;
        std::uint32_t weight = 0;  // 0: no member
        std::uint32_t index = 0;
    };

    explicit HashRing(std::uint64_t seed = 0) : seed_(seed) {}

    /// Errors    rejected: it is there already, the weight is not 1 to limits::ring_weight_max, the
    ///           name is empty or longer than limits::ring_member_bytes_max; would_block: the ring
    ///           would have more than limits::ring_points_max points. Nothing was changed.
    Status add(std::string_view name, std::uint32_t weight = 1);
    /// False: there is no such member.
    bool remove(std::string_view name);

    /// Who has this key; null only if the ring is empty.
    [[nodiscard]] const Member* find(std::string_view key) const { return find_hash(hash(key)); }
    [[nodiscard]] const Member* find_hash(std::uint64_t hash) const;
    [[nodiscard]] std::uint64_t hash(std::string_view key) const;

    /// Who takes this key if no member may have more than (1 + extra) times its fair share of the
    /// load: the first one around the circle that has room. `load_of(member)` is what it has
    /// already, `total` the sum over all. With extra = 0.25 the fullest one has at most a quarter
    /// more than its share, and a member that comes or goes moves few keys beyond its own.
    ///
    /// Requires  extra > 0. Null only if the ring is empty. If the loads do not add up to `total`
    ///           and everybody seems full, whoever find() names.
    template <class LoadOf>
    [[nodiscard]] const Member* find_bounded(std::string_view key, double extra,
                                             std::uint64_t total, LoadOf&& load_of) const {
        if (points_.empty()) return nullptr;
        const std::size_t begin = point_of(hash(key));
        const double share =
            (1.0 + extra) * static_cast<double>(total + 1) / static_cast<double>(weights_);
        for (std::size_t i = 0; i < points_.size(); ++i) {
            const Member& member = members_[points_[(begin + i) % points_.size()].member];
            // One below the bound is room for one more: the bound is rounded up.
            if (static_cast<double>(load_of(member)) < share * member.weight) return &member;
        }
        return &members_[points_[begin].member];
    }

    [[nodiscard]] const Member* member(std::string_view name) const;
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::size_t points() const { return points_.size(); }
    [[nodiscard]] std::uint64_t seed() const { return seed_; }

private:
    struct Point {
        std::uint64_t hash = 0;
        std::uint32_t member = 0;
    };
    /// Index of the first point at or behind; 0 if there is none.
    [[nodiscard]] std::size_t point_of(std::uint64_t hash) const;

    std::uint64_t seed_;
    std::vector<Member> members_;  // by index, with gaps
    std::vector<Point> points_;    // by (hash, name of the member)
    std::size_t size_ = 0;
    std::uint64_t weights_ = 0;
};

}  // namespace ferry::wire
