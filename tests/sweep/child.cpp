#include "child.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

// There in builds that count lines: what a child reached is not written by _exit.
extern "C" void __gcov_dump() __attribute__((weak));

namespace ferry::sweep {
namespace {

constexpr unsigned patience_seconds = 10;
int pipe_out = -1;

struct Word {
    char what = 0;
    unsigned number = 0;
};

// Whatever is thrown out of it ends the process where it was thrown, as it does in ferryd.
int run_to_the_end(const std::function<int()>& work) noexcept {
    return work();
}

}  // namespace

std::set<unsigned> Child::all(char what) const {
    std::set<unsigned> numbers;
    for (const auto& [kind, number] : told) {
        if (kind == what) numbers.insert(number);
    }
    return numbers;
}
bool Child::exited(int code) const {
    return WIFEXITED(status) && WEXITSTATUS(status) == code;
}
bool Child::died() const {
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGSEGV);
}
std::string Child::text() const {
    return WIFEXITED(status) ? "exit status " + std::to_string(WEXITSTATUS(status))
                             : "signal " + std::string(strsignal(WTERMSIG(status)));
}

void tell(char what, unsigned number) noexcept {
    const Word word{what, number};
    static_cast<void>(!::write(pipe_out, &word, sizeof word));
}

Child run_child(const std::function<int()>& work) {
    int ends[2] = {-1, -1};
    Child out;
    if (::pipe(ends) != 0) return out;
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(ends[0]);
        pipe_out = ends[1];
        ::alarm(patience_seconds);
        // "terminate called after throwing": thousands of times.
        if (::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(9);
        const int status = run_to_the_end(work);
        if (__gcov_dump != nullptr) __gcov_dump();
        ::_exit(status);
    }
    ::close(ends[1]);
    Word word;
    while (::read(ends[0], &word, sizeof word) == static_cast<ssize_t>(sizeof word))
        out.told.emplace_back(word.what, word.number);
    ::close(ends[0]);
    if (child > 0) ::waitpid(child, &out.status, 0);
    return out;
}

}  // namespace ferry::sweep
