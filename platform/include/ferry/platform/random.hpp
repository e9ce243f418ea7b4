#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ferry {

/// The only source of randomness. Threads: one at a time.
class Random {
public:
    virtual ~Random() = default;
    virtual std::uint64_t next() = 0;
};

/// From the operating system; fit for ids and salts. Lives for ever; any thread.
[[nodiscard]] Random& system_random();

/// system_random(), asked for many numbers at once. Threads: one at a time. Not for a process that
/// forks: both would go on with the same numbers.
class BufferedRandom final : public Random {
public:
    std::uint64_t next() override;

private:
    std::array<std::uint64_t, 32> numbers_{};  // as many as the system gives whole
    std::size_t used_ = numbers_.size();
};

/// xoshiro256** (Blackman and Vigna, 2018): the same seed gives the same numbers on every machine.
class SeededRandom final : public Random {
public:
    explicit SeededRandom(std::uint64_t seed) noexcept;
    std::uint64_t next() override;
    /// 0 <= result < bound. Requires bound > 0. (A remainder: good enough for tests, not for dice.)
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }

private:
    std::uint64_t state_[4];
};

}  // namespace ferry
