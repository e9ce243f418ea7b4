#pragma once

#include <string_view>

namespace ferry {

/// Named places where a test may make the process fail: FERRY_FAULT=name[:n] in the environment of
/// a program built with -DFERRY_FAULT_POINTS=1 kills it (SIGKILL) at the n-th passage (default 1).
/// Without that definition the macro is nothing.
void fault_point(std::string_view name) noexcept;

}  // namespace ferry

#ifdef FERRY_FAULT_POINTS
#define FERRY_FAULT_POINT(name) ::ferry::fault_point(name)
#else
#define FERRY_FAULT_POINT(name) static_cast<void>(0)
#endif
