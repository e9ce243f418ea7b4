#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace ferry::sweep {

/// What a process said before it ended.
struct Child {
    int status = 0;  // as waitpid() gives it
    std::vector<std::pair<char, unsigned>> told;

    [[nodiscard]] std::set<unsigned> all(char what) const;
    [[nodiscard]] bool exited(int code) const;
    /// Ended as a program does that was thrown bad_alloc at. The pools of libstdc++ (12) use a null
    /// pointer instead, where there is no memory for the first of them.
    [[nodiscard]] bool died() const;
    [[nodiscard]] std::string text() const;
};

/// Runs `work` in a process of its own, which may end in any way; after ten seconds it is killed.
/// It exits with what `work` returns; an exception that leaves `work` ends it as in a program.
[[nodiscard]] Child run_child(const std::function<int()>& work);
/// In the child: told to the parent at once, without memory.
void tell(char what, unsigned number) noexcept;

}  // namespace ferry::sweep
