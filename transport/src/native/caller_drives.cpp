#include "native/caller_drives.hpp"

#include "ferry/platform/assert.hpp"

namespace ferry::transport::native {
namespace {

thread_local CallerDrives* of_this_thread = nullptr;

}  // namespace

CallerDrives::CallerDrives(Random& all_chance) : random(all_chance) {
    FERRY_ASSERT(of_this_thread == nullptr, "one at a time");
    of_this_thread = this;
}

CallerDrives::~CallerDrives() {
    of_this_thread = nullptr;
}

CallerDrives* CallerDrives::here() {
    return of_this_thread;
}

}  // namespace ferry::transport::native
