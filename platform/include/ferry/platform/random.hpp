#pragma once

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
