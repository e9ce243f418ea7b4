#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/platform/clock.hpp"
#include "ferry/platform/random.hpp"

namespace ferry::simulation {

inline constexpr std::uint64_t us = 1'000;
inline constexpr std::uint64_t ms = 1'000'000;
inline constexpr std::uint64_t second = 1'000'000'000;

/// Time that passes only from event to event; the wall clock of a host may be set.
class VirtualClock final : public Clock {
public:
    static constexpr std::uint64_t begin_wall_ms = 1'700'000'040'000;

    [[nodiscard]] Now now() const override {
        const auto passed = static_cast<std::int64_t>(*mono_ns_ / ms);
        return {Instant{*mono_ns_}, static_cast<std::uint64_t>(wall_begin_ms_ + passed)};
    }
    explicit VirtualClock(const std::uint64_t& mono_ns) : mono_ns_(&mono_ns) {}
    /// Somebody sets the wall clock; the monotonic one knows nothing of it.
    void jump_ms(std::int64_t by) { wall_begin_ms_ += by; }
    void put_right() { wall_begin_ms_ = static_cast<std::int64_t>(begin_wall_ms); }

private:
    const std::uint64_t* mono_ns_;
    std::int64_t wall_begin_ms_ = static_cast<std::int64_t>(begin_wall_ms);
};

/// Held by whatever may die; what it planned dies with it.
class Life {
public:
    Life() : token_(std::make_shared<char>('\0')) {}
    void end() { token_.reset(); }
    void begin() { token_ = std::make_shared<char>('\0'); }
    [[nodiscard]] bool lives() const { return token_ != nullptr; }
    [[nodiscard]] std::weak_ptr<char> token() const { return token_; }

private:
    std::shared_ptr<char> token_;
};

/// One thread, one seed: virtual time, chance, the events that are to come, and a trace of those
/// that were.
class World {
public:
    explicit World(std::uint64_t seed);
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    // ---- time ----
    [[nodiscard]] const std::uint64_t& now_ns() const { return now_ns_; }
    void after(std::uint64_t ns, const Life& life, std::function<void()> what);
    /// Carries out the next event. False: there is none before `until_ns`, which is now then.
    bool step(std::uint64_t until_ns);
    [[nodiscard]] std::uint64_t events() const { return events_; }

    // ---- chance ----
    std::uint64_t below(std::uint64_t bound) { return random.below(bound); }
    std::uint64_t between(std::uint64_t least, std::uint64_t most) {
        return least + random.below(most - least + 1);
    }
    bool chance(std::uint64_t per_mille) { return random.below(1000) < per_mille; }
    /// Small ones are as likely as large ones: evenly in the logarithm.
    std::uint64_t spread(std::uint64_t least, std::uint64_t most);
    SeededRandom random;

    // ---- trace ----
    /// `what` lives for ever.
    void trace(const char* what, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0);
    /// For people who look at one run.
    bool talkative = false;
    void say(std::string_view who, std::string_view line) const;
    [[nodiscard]] std::uint64_t trace_hash() const { return hash_; }
    [[nodiscard]] std::string last_events() const;

    // ---- verdict ----
    /// Something is wrong: the run ends. The first one counts.
    void fail(std::string why);
    [[nodiscard]] const std::string& failure() const { return failure_; }
    [[nodiscard]] bool failed() const { return !failure_.empty(); }

private:
    static constexpr std::size_t trace_kept = 200;
    struct Event {
        std::uint64_t at = 0;
        std::uint64_t tie = 0;  // drawn: what happens at one moment happens in any order
        std::uint64_t number = 0;
        std::weak_ptr<char> life;
        std::function<void()> what;
    };
    struct Line {
        std::uint64_t at = 0;
        const char* what = "";
        std::uint64_t a = 0, b = 0, c = 0;
    };
    static bool later(const Event& x, const Event& y);

    std::uint64_t now_ns_ = second;
    std::vector<Event> heap_;
    std::uint64_t next_number_ = 0;
    std::uint64_t events_ = 0;
    std::uint64_t hash_ = 0x9E3779B97F4A7C15ULL;
    std::array<Line, trace_kept> lines_{};
    std::uint64_t line_count_ = 0;
    std::string failure_;
};

/// Spreads a word over another: for hashes that are compared, and for seeds made of seeds.
[[nodiscard]] inline std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
    return hash ^ (hash >> 29);
}

}  // namespace ferry::simulation
