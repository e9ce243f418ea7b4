#include <gtest/gtest.h>
#include <uv.h>

#include <atomic>
#include <cstddef>
#include <thread>

#include "ferry/platform/file.hpp"

namespace ferry {
namespace {

// The broker's loop looks at its memory while the log's housekeeper lists files: the number that
// libuv closed is the next directory's. In the build with ThreadSanitizer a report ends the
// program; without tests/tsan.supp there is one.
TEST(Descriptors, WhatLibuvClosedIsFreeForADirectoryOfAnotherThread) {
    // Relaxed: any order between the threads that a sanitizer knew of would hide what this test is
    // about.
    std::atomic<bool> closed{false};
    bool listed = false;
    std::thread housekeeper([&] {
        while (!closed.load(std::memory_order_relaxed)) std::this_thread::yield();
        listed = make_posix_file_system()->list("/proc/self").ok();
    });
    std::size_t resident = 0;
    const int status = uv_resident_set_memory(&resident);
    closed.store(true, std::memory_order_relaxed);
    housekeeper.join();
    EXPECT_EQ(status, 0);
    EXPECT_GT(resident, 0U);
    EXPECT_TRUE(listed);
}

}  // namespace
}  // namespace ferry
