#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace ferry::cli::chaos {

/// Deliberate mistakes of the built-in handler, to see that they are found.
enum class Mistake : std::uint8_t {
    none,
    ack_first,  ///< acks, and makes the effect afterwards
    no_inbox,   ///< makes the effect in a transaction of its own, without an inbox
};

/// What a run of `ferry chaos run` does. Checked by whoever makes it.
struct Plan {
    std::vector<std::string> handler;  ///< empty: the built-in one
    std::string check;    ///< a shell command that lists effects; empty: the built-in handler's
    std::string program;  ///< this program, for relay and built-in handler
    std::string ferryd;
    std::string directory;
    std::string queue = "chaos";
    std::string payload = "{id}";
    std::uint64_t seed = 0;
    std::uint64_t cycles = 0;  ///< 0: until `span` is over
    std::chrono::milliseconds span{0};
    bool kill_broker = true;
    bool kill_relay = true;
    bool kill_consumer = true;
    bool pause = false;
    bool at_least_once = false;
    Mistake mistake = Mistake::none;
    std::uint32_t consumers = 2;
    std::uint32_t rate = 200;  ///< transactions a second
    std::uint32_t keys = 8;
    std::chrono::milliseconds lease{3000};
    std::chrono::milliseconds patience{60'000};  ///< for everything to arrive at the end
};

inline constexpr std::uint64_t cycles_default = 20;
inline constexpr std::uint64_t cycles_max = 1'000'000;
inline constexpr std::uint32_t consumers_max = 64;
inline constexpr std::uint32_t rate_max = 20'000;
inline constexpr std::uint32_t keys_max = 10'000;
/// What the check may print, and what a payload may be made of.
inline constexpr std::size_t check_output_max = 256U << 20;
inline constexpr std::size_t payload_bytes_max = 64U << 10;

/// Where the built-in handler keeps its effects, in the handlers' directory.
inline constexpr const char* effects_file = "effects.db";

}  // namespace ferry::cli::chaos
