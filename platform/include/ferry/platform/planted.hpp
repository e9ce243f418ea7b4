#pragma once

#ifdef FERRY_PLANT

#include <string_view>

namespace ferry {

/// True where FERRY_PLANT=name in the environment chose this mistake; says so once on stderr, when
/// the code with the mistake is reached. Threads: any.
bool planted(std::string_view name) noexcept;

}  // namespace ferry

/// A mistake that tests must catch: tests/teeth/plants.txt has its name and the test that does.
///
/// Only in a build with -DFERRY_PLANT=ON, which is good for nothing else; elsewhere it is the
/// constant false and its name is in no program.
#define FERRY_PLANTED(name) ::ferry::planted(name)
#else
#define FERRY_PLANTED(name) false
#endif
