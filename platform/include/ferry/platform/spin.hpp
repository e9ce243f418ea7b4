#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace ferry {

/// Whether a loop that has nothing to do should look again at once instead of going to sleep.
///
/// To be woken takes a processor that has gone to sleep tens of microseconds: as long as a short
/// message takes for all else. So while short messages come quickly one after the other, as
/// questions and answers do, the loop stays awake for a moment after each. It learns from the gaps:
/// a loop that was rarely met awake goes to sleep at once, and so does one that has much to read,
/// which loses nothing by it. The idea is that of adaptive mutexes.
///
/// Threads   one at a time.
class Spin {
public:
    static constexpr std::uint32_t limit_us_default = 50;
    static constexpr std::uint32_t limit_us_max = 1'000;

    /// `limit_us`: how long it stays awake; 0: never. `processors`: with one of them whoever is
    /// waited for could not run meanwhile.
    Spin(std::uint32_t limit_us, unsigned processors)
        : limit_ns_(processors > 1 ? std::uint64_t{std::min(limit_us, limit_us_max)} * 1'000 : 0) {}

    /// After each turn of the loop: what was read in it.
    [[nodiscard]] bool looks_again(std::size_t bytes_read, std::uint64_t now_ns) {
        if (limit_ns_ == 0) return false;
        if (bytes_read > 0) return learn(bytes_read, now_ns);
        if (credit_ < credit_needed) return false;
        if (now_ns - read_ns_ < limit_ns_) return true;
        --credit_;  // in vain
        return false;
    }

private:
    static constexpr std::uint32_t credit_needed = 2;
    static constexpr std::uint32_t credit_max = 8;
    static constexpr std::size_t short_bytes_max = 4'096;
    /// Of the limit: what still counts as quick in a gap that includes a sleep.
    static constexpr std::uint64_t quick_gap = 3;

    bool learn(std::size_t bytes_read, std::uint64_t now_ns) {
        const bool quick = now_ns - read_ns_ < quick_gap * limit_ns_;
        read_ns_ = now_ns;
        if (bytes_read > short_bytes_max) {
            credit_ = 0;
        } else if (quick) {
            credit_ = std::min(credit_ + 1, credit_max);
        } else if (credit_ > 0) {
            --credit_;
        }
        return credit_ >= credit_needed;
    }

    std::uint64_t limit_ns_;
    std::uint64_t read_ns_ = 0;  // when something was read last
    std::uint32_t credit_ = 0;
};

}  // namespace ferry
