#include "ferry/platform/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace ferry {

void assert_failed(const char* condition, const char* why, const char* file, int line) noexcept {
    // Unbuffered and without allocation: the heap may be what is broken.
    std::fprintf(stderr, "%s:%d: assertion failed: %s (%s)\n", file, line, condition, why);
    std::fflush(stderr);
    std::abort();
}

}  // namespace ferry
