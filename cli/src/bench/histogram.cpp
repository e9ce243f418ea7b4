#include "bench/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace ferry::cli::bench {

// Values below 64 have a bucket each; above, every power of two is cut into 64.
std::size_t Histogram::bucket_of(std::uint64_t ns) {
    if (ns < (1U << sub_bits)) return static_cast<std::size_t>(ns);
    const unsigned exponent = static_cast<unsigned>(std::bit_width(ns)) - 1 - sub_bits;
    const std::uint64_t within = (ns >> exponent) - (1U << sub_bits);
    return static_cast<std::size_t>(((exponent + 1ULL) << sub_bits) + within);
}

std::uint64_t Histogram::upper_end(std::size_t bucket) {
    if (bucket < (1U << sub_bits)) return bucket;
    const std::uint64_t exponent = (bucket >> sub_bits) - 1;
    const std::uint64_t within = bucket & ((1U << sub_bits) - 1);
    return (((within + (1ULL << sub_bits)) + 1) << exponent) - 1;
}

void Histogram::add(std::uint64_t ns, std::uint64_t weight) {
    counts_[bucket_of(ns)] += weight;
    count_ += weight;
    max_ = std::max(max_, ns);
}

void Histogram::add(const Histogram& other) {
    for (std::size_t i = 0; i < buckets; ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    max_ = std::max(max_, other.max_);
}

std::uint64_t Histogram::percentile(double share) const {
    if (count_ == 0) return 0;
    const double exact = std::ceil(share * static_cast<double>(count_));
    const auto wanted = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(exact), 1, count_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets; ++i) {
        seen += counts_[i];
        if (seen >= wanted) return std::min(upper_end(i), max_);
    }
    return max_;
}

}  // namespace ferry::cli::bench
