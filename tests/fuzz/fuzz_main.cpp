#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "targets.hpp"

// One program for all targets, so that it is linked once: FERRY_FUZZ_TARGET in the environment
// names the one that runs.
namespace {

const ferry::fuzz::Target* chosen = nullptr;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    const char* const wish = std::getenv("FERRY_FUZZ_TARGET");
    for (const ferry::fuzz::Target& target : ferry::fuzz::targets()) {
        if (wish != nullptr && std::string_view(wish) == target.name) chosen = &target;
    }
    if (chosen == nullptr) {
        std::fputs("FERRY_FUZZ_TARGET is not set to one of these:\n", stderr);
        for (const ferry::fuzz::Target& target : ferry::fuzz::targets())
            std::fprintf(stderr, "%s\n", target.name);
        std::exit(2);
    }
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, unsigned long size) {
    chosen->run({reinterpret_cast<const std::byte*>(data), size});
    return 0;
}
