#pragma once

#include <array>
#include <cstdint>

namespace ferry::cli::bench {

/// Times in nanoseconds, kept in buckets no wider than 1/64 of their value. Fixed size, no
/// allocation. Threads: one at a time.
class Histogram {
public:
    void add(std::uint64_t ns, std::uint64_t weight = 1);
    void add(const Histogram& other);
    [[nodiscard]] std::uint64_t count() const { return count_; }
    /// Upper end of the bucket that holds the `share` (0 to 1) of the smallest values; 0 when
    /// empty.
    [[nodiscard]] std::uint64_t percentile(double share) const;
    [[nodiscard]] std::uint64_t max() const { return max_; }

private:
    static constexpr unsigned sub_bits = 6;
    static constexpr std::size_t buckets = (64 - sub_bits + 1) << sub_bits;
    static std::size_t bucket_of(std::uint64_t ns);
    static std::uint64_t upper_end(std::size_t bucket);

    std::array<std::uint64_t, buckets> counts_{};
    std::uint64_t count_ = 0;
    std::uint64_t max_ = 0;
};

}  // namespace ferry::cli::bench
