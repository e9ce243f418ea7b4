#include "ferry/platform/fault_point.hpp"

#include <signal.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <string>

namespace ferry {
namespace {

struct Fault {
    std::string name;
    std::atomic<unsigned> passages_left{1};

    Fault() {
        const char* text = std::getenv("FERRY_FAULT");
        if (text == nullptr) return;
        const std::string_view wish = text;
        const std::size_t colon = wish.find(':');
        name = wish.substr(0, colon);
        if (colon == std::string_view::npos) return;
        unsigned n = 1;
        const char* end = wish.data() + wish.size();
        const auto parsed = std::from_chars(wish.data() + colon + 1, end, n);
        if (parsed.ec == std::errc{} && parsed.ptr == end && n > 0) passages_left = n;
    }
};

}  // namespace

void fault_point(std::string_view name) noexcept {
    static Fault fault;
    if (fault.name.empty() || fault.name != name) return;
    // SIGKILL and not abort(): nothing may be flushed or unwound, as when the machine stops.
    if (fault.passages_left.fetch_sub(1) == 1) static_cast<void>(raise(SIGKILL));
}

}  // namespace ferry
