#pragma once

#include <cstdint>

namespace ferry::sweep {

/// Makes memory run out in this program: the `at`-th allocation from now on (from 1) fails, of ours
/// (operator new throws std::bad_alloc) and of SQLite (which returns an error) alike, and, with
/// `all`, every one behind it. 0: none fails any more.
///
/// Threads   One allocates while it is armed.
void fail_allocation(std::uint64_t at, bool all = false) noexcept;
/// Allocations since the last call of fail_allocation().
[[nodiscard]] std::uint64_t allocations() noexcept;
/// Whether one has failed since then.
[[nodiscard]] bool allocation_failed() noexcept;
/// To be called before SQLite is used for the first time.
void watch_sqlite();

}  // namespace ferry::sweep
