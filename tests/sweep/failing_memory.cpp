#include "failing_memory.hpp"

#include <sqlite3.h>

#include <cstdlib>
#include <new>

namespace ferry::sweep {
namespace {

std::uint64_t count = 0;
std::uint64_t fails_at = 0;
bool fails_on = false;
bool failed = false;
sqlite3_mem_methods plain{};

bool gives() noexcept {
    ++count;
    if (fails_at == 0 || count < fails_at || (count > fails_at && !fails_on)) return true;
    failed = true;
    return false;
}

void* sqlite_malloc(int size) {
    return gives() ? plain.xMalloc(size) : nullptr;
}
void* sqlite_realloc(void* old, int size) {
    return gives() ? plain.xRealloc(old, size) : nullptr;
}

void* take(std::size_t size) {
    void* const memory = gives() ? std::malloc(size == 0 ? 1 : size) : nullptr;
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

void* take_aligned(std::size_t size, std::align_val_t alignment) {
    const auto align = static_cast<std::size_t>(alignment);
    void* const memory =
        gives() ? std::aligned_alloc(align, (size + align - 1) / align * align) : nullptr;
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

void fail_allocation(std::uint64_t at, bool all) noexcept {
    count = 0;
    fails_at = at;
    fails_on = all;
    failed = false;
}
std::uint64_t allocations() noexcept {
    return count;
}
bool allocation_failed() noexcept {
    return failed;
}

void watch_sqlite() {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain);
    sqlite3_mem_methods watched = plain;
    watched.xMalloc = sqlite_malloc;
    watched.xRealloc = sqlite_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &watched);
}

}  // namespace ferry::sweep

void* operator new(std::size_t size) {
    return ferry::sweep::take(size);
}
void* operator new[](std::size_t size) {
    return ferry::sweep::take(size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return ferry::sweep::take_aligned(size, alignment);
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return ferry::sweep::take_aligned(size, alignment);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}
