// Runs a program and kills it as it enters its n-th call that changes a file:
//
//   kill_at N REPORT COMMAND...     N = 0: never, only count
//
// The call is not carried out. Calls of all threads are counted together, in the order in which
// they are entered, so N = 1, 2, 3 … is every moment at which the files can be found. REPORT gets
// one line: "killed" or "ended", how many calls there were, the last one's name. SIGTERM is passed
// on. Exit status: the program's, 128 + 9 if it was killed here, 77 if tracing is not allowed.

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

namespace {

constexpr int not_allowed = 77;
constexpr int syscall_stop = SIGTRAP | 0x80;
constexpr unsigned info_bytes = sizeof(struct __ptrace_syscall_info);

volatile std::sig_atomic_t asked_to_end = 0;

struct Call {
    long number;
    const char* name;
};

constexpr Call changing[] = {
    {SYS_pwrite64, "pwrite64"},
    {SYS_pwritev, "pwritev"},
    {SYS_fsync, "fsync"},
    {SYS_fdatasync, "fdatasync"},
    {SYS_ftruncate, "ftruncate"},
    {SYS_fallocate, "fallocate"},
    {SYS_renameat, "renameat"},
    {SYS_renameat2, "renameat2"},
    {SYS_unlinkat, "unlinkat"},
    {SYS_mkdirat, "mkdirat"},
    {SYS_linkat, "linkat"},
    {SYS_sync_file_range, "sync_file_range"},
    {SYS_copy_file_range, "copy_file_range"},
#ifdef SYS_rename
    {SYS_rename, "rename"},
    {SYS_unlink, "unlink"},
    {SYS_mkdir, "mkdir"},
    {SYS_link, "link"},
#endif
};

/// The name of a call that changes files; null: it does not.
const char* name_of(const struct __ptrace_syscall_info& info) {
    const auto number = static_cast<long>(info.entry.nr);
    if (number == SYS_openat) {
        return (info.entry.args[2] & O_CREAT) != 0 ? "openat" : nullptr;
    }
    for (const Call& call : changing) {
        if (call.number == number) return call.name;
    }
    return nullptr;
}

int give_up(const char* what) {
    std::fprintf(stderr, "kill_at: %s: %s\n", what, std::strerror(errno));
    return not_allowed;
}

[[noreturn]] void become(char** command) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) std::_Exit(not_allowed);
    ::raise(SIGSTOP);
    ::execvp(command[0], command);
    std::_Exit(127);
}

class Tracer {
public:
    Tracer(pid_t child, unsigned long kill_at) : child_(child), kill_at_(kill_at) {}

    /// Until the program is gone; its status as waitpid gave it.
    int run() {
        int last = 0;
        for (;;) {
            int status = 0;
            const pid_t who = ::waitpid(-1, &status, __WALL);
            if (asked_to_end != 0) {
                asked_to_end = 0;
                ::kill(child_, SIGTERM);
            }
            if (who < 0) {
                if (errno == EINTR) continue;
                return last;
            }
            if (WIFEXITED(status) || WIFSIGNALED(status)) {
                if (who == child_) last = status;
                continue;
            }
            go_on(who, stopped(who, status));
        }
    }
    [[nodiscard]] bool killed() const { return killed_; }
    [[nodiscard]] unsigned long calls() const { return calls_; }
    [[nodiscard]] const std::string& last() const { return last_; }

private:
    /// The signal that the stopped thread goes on with.
    int stopped(pid_t who, int status) {
        const int signal = WSTOPSIG(status);
        if (signal == syscall_stop) {
            look(who);
            return 0;
        }
        if (signal == SIGTRAP) return 0;                               // a clone or an exec
        if (signal == SIGSTOP && known_.insert(who).second) return 0;  // a new thread begins so
        return signal;
    }

    void look(pid_t who) {
        struct __ptrace_syscall_info info {};
        // The request takes the size where others take an address.
        if (::ptrace(PTRACE_GET_SYSCALL_INFO, who,
                     reinterpret_cast<void*>(std::uintptr_t{info_bytes}), &info) <= 0 ||
            info.op != PTRACE_SYSCALL_INFO_ENTRY || killed_) {
            return;
        }
        const char* const name = name_of(info);
        if (name == nullptr) return;
        last_ = name;
        if (++calls_ != kill_at_) return;
        killed_ = true;
        ::kill(child_, SIGKILL);
    }

    static void go_on(pid_t who, int signal) {
        ::ptrace(PTRACE_SYSCALL, who, nullptr,
                 reinterpret_cast<void*>(static_cast<std::uintptr_t>(signal)));
    }

    pid_t child_;
    unsigned long kill_at_;
    unsigned long calls_ = 0;
    bool killed_ = false;
    std::string last_ = "-";
    std::set<pid_t> known_;
};

int exit_status(const Tracer& tracer, int status) {
    if (tracer.killed()) return 128 + SIGKILL;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fputs("usage: kill_at N REPORT COMMAND...\n", stderr);
        return 2;
    }
    const pid_t child = ::fork();
    if (child < 0) return give_up("fork");
    if (child == 0) become(argv + 3);
    struct sigaction forward {};
    forward.sa_handler = [](int) { asked_to_end = 1; };  // no SA_RESTART: waitpid has to return
    ::sigaction(SIGTERM, &forward, nullptr);
    int status = 0;
    if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
        errno = EPERM;
        return give_up("ptrace is refused here");
    }
    const long options =
        PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    if (::ptrace(PTRACE_SETOPTIONS, child, nullptr,
                 reinterpret_cast<void*>(static_cast<std::uintptr_t>(options))) != 0) {
        const int problem = give_up("ptrace");
        ::kill(child, SIGKILL);
        return problem;
    }
    Tracer tracer(child, std::strtoul(argv[1], nullptr, 10));
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    status = tracer.run();
    if (std::FILE* const report = std::fopen(argv[2], "w")) {
        std::fprintf(report, "%s %lu %s\n", tracer.killed() ? "killed" : "ended", tracer.calls(),
                     tracer.last().c_str());
        std::fclose(report);
    }
    return exit_status(tracer, status);
}
