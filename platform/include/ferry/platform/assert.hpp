#pragma once

namespace ferry {
/// Prints condition, reason and place to stderr and aborts. Never returns.
[[noreturn]] void assert_failed(const char* condition, const char* why, const char* file,
                                int line) noexcept;
}  // namespace ferry

// Always on, in release too. For bugs in our own code only: never for client input, disk contents
// or the network, which are Results.
#define FERRY_ASSERT(condition, why)                                     \
    do {                                                                 \
        if (!(condition)) [[unlikely]]                                   \
            ::ferry::assert_failed(#condition, why, __FILE__, __LINE__); \
    } while (false)
