#include "targets.hpp"

// FERRY_FUZZ_TARGET names one of the functions of targets.hpp.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, unsigned long size) {
    ferry::fuzz::FERRY_FUZZ_TARGET({reinterpret_cast<const std::byte*>(data), size});
    return 0;
}
