#include "ferry/platform/random.hpp"

#include <sys/random.h>

#include <bit>
#include <cerrno>

#include "ferry/platform/assert.hpp"

namespace ferry {
namespace {

void fill(void* into, std::size_t bytes) {
    ssize_t got = -1;
    do {
        got = getrandom(into, bytes, 0);
    } while (got < 0 && errno == EINTR);
    // Up to 256 bytes come whole once the pool is seeded; a kernel without getrandom is too old.
    FERRY_ASSERT(got == static_cast<ssize_t>(bytes), "getrandom works on every kernel");
}

class SystemRandom final : public Random {
public:
    std::uint64_t next() override {
        std::uint64_t value = 0;
        fill(&value, sizeof value);
        return value;
    }
};

// splitmix64 (Vigna): spreads a seed of few bits over the whole state, never all zero.
std::uint64_t splitmix64(std::uint64_t& state) {
    std::uint64_t z = (state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

}  // namespace

Random& system_random() {
    static SystemRandom random;
    return random;
}

std::uint64_t BufferedRandom::next() {
    if (used_ == numbers_.size()) {
        static_assert(sizeof numbers_ <= 256, "more may come in parts");
        fill(numbers_.data(), sizeof numbers_);
        used_ = 0;
    }
    return numbers_[used_++];
}

SeededRandom::SeededRandom(std::uint64_t seed) noexcept
    : state_{splitmix64(seed), splitmix64(seed), splitmix64(seed), splitmix64(seed)} {}

std::uint64_t SeededRandom::next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
}

}  // namespace ferry
