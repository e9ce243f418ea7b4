#include "ferry/wire/hash_ring.hpp"

#include <algorithm>

#include "ferry/platform/xxh64.hpp"

namespace ferry::wire {

std::uint64_t HashRing::hash(std::string_view key) const {
    return xxh64(as_bytes(key), seed_);
}

const HashRing::Member* HashRing::member(std::string_view name) const {
    const auto at = std::find_if(members_.begin(), members_.end(),
                                 [&](const Member& m) { return m.weight != 0 && m.name == name; });
    return at == members_.end() ? nullptr : &*at;
}

Status HashRing::add(std::string_view name, std::uint32_t weight) {
    if (weight < 1 || weight > limits::ring_weight_max)
        return Error{Errc::rejected, 0, 0, "a member's weight is 1 to 64"};
    if (name.empty() || name.size() > limits::ring_member_bytes_max)
        return Error{Errc::rejected, 0, 0, "a member's name has 1 to 512 bytes"};
    if (member(name) != nullptr)
        return Error{Errc::rejected, 0, 0, "the ring has a member of this name"};
    const std::size_t fresh = std::size_t{weight} * limits::ring_points_per_weight;
    if (points_.size() + fresh > limits::ring_points_max)
        return Error{Errc::would_block, 0, 0, "a ring has at most 262144 points"};
    auto at = std::find_if(members_.begin(), members_.end(),
                           [](const Member& m) { return m.weight == 0; });
    if (at == members_.end()) at = members_.insert(at, Member{});
    const auto index = static_cast<std::uint32_t>(at - members_.begin());
    *at = Member{std::string(name), weight, index};
    ++size_;
    weights_ += weight;

    const std::size_t before = points_.size();
    for (std::size_t i = 0; i < fresh; ++i)
        points_.push_back({xxh64(as_bytes(name), seed_ + i), index});
    // Where two points fall together the name decides, not who came first.
    const auto earlier = [this](const Point& a, const Point& b) {
        if (a.hash != b.hash) return a.hash < b.hash;
        return members_[a.member].name < members_[b.member].name;
    };
    const auto middle = points_.begin() + static_cast<std::ptrdiff_t>(before);
    std::sort(middle, points_.end(), earlier);
    std::inplace_merge(points_.begin(), middle, points_.end(), earlier);
    return ok_status();
}

bool HashRing::remove(std::string_view name) {
    const Member* found = member(name);
    if (found == nullptr) return false;
    const std::uint32_t index = found->index;
    std::erase_if(points_, [&](const Point& point) { return point.member == index; });
    weights_ -= members_[index].weight;
    members_[index] = Member{};
    --size_;
    return true;
}

std::size_t HashRing::point_of(std::uint64_t hash) const {
    const auto at = std::partition_point(points_.begin(), points_.end(),
                                         [&](const Point& point) { return point.hash < hash; });
    return at == points_.end() ? 0 : static_cast<std::size_t>(at - points_.begin());
}

const HashRing::Member* HashRing::find_hash(std::uint64_t hash) const {
    return points_.empty() ? nullptr : &members_[points_[point_of(hash)].member];
}

}  // namespace ferry::wire
