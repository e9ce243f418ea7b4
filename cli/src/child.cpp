#include "child.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

extern char** environ;

namespace ferry::cli {
namespace {

struct Arguments {
    std::vector<std::string> texts;
    std::vector<char*> pointers;

    void finish() {
        for (std::string& text : texts) pointers.push_back(text.data());
        pointers.push_back(nullptr);
    }
};

int shell_status(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

Arguments environment_with(const Child::Environment& more) {
    Arguments out;
    for (char** at = environ; *at != nullptr; ++at) {
        const std::string_view entry(*at);
        const bool replaced = std::any_of(more.begin(), more.end(), [&](const auto& one) {
            return entry.starts_with(one.first + "=");
        });
        if (!replaced) out.texts.emplace_back(entry);
    }
    for (const auto& [name, value] : more) out.texts.push_back(name + "=" + value);
    out.finish();
    return out;
}

// What this program blocks or ignores is not passed on.
Result<pid_t> spawn(const std::vector<std::string>& command, const Child::Environment& more,
                    bool own_group, posix_spawn_file_actions_t* files) {
    Arguments arguments{command, {}};
    arguments.finish();
    Arguments environment = environment_with(more);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (own_group) flags = static_cast<short>(flags | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setflags(&attributes, flags);
    posix_spawnattr_setpgroup(&attributes, 0);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    sigset_t defaults;
    sigemptyset(&defaults);
    for (const int signal : {SIGPIPE, SIGINT, SIGTERM}) sigaddset(&defaults, signal);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    pid_t pid = -1;
    const int failed = posix_spawnp(&pid, command.front().c_str(), files, &attributes,
                                    arguments.pointers.data(), environment.pointers.data());
    posix_spawnattr_destroy(&attributes);
    if (failed == 0) return pid;
    return Error{failed == ENOENT ? Errc::not_found : Errc::io_failed, failed, 0,
                 "the command could not be started"};
}

struct Pipe {
    int ends[2] = {-1, -1};

    Pipe() = default;
    ~Pipe() {
        close_end(0);
        close_end(1);
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;

    bool open() { return ::pipe2(ends, O_CLOEXEC) == 0; }
    void close_end(int which) {
        if (ends[which] >= 0) ::close(ends[which]);
        ends[which] = -1;
    }
};

// A command that does not read its input must not end this program.
template <class F>
bool without_sigpipe(F&& run) {
    sigset_t pipe_signal;
    sigset_t before;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    const bool result = run();
    const timespec at_once{};
    while (sigtimedwait(&pipe_signal, nullptr, &at_once) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return result;
}

// Both at once, so that neither side waits for the other. False: too much came.
bool exchange(Pipe& to, Pipe& from, std::string_view input, std::size_t output_max,
              std::string& output) {
    ::fcntl(to.ends[1], F_SETFL, O_NONBLOCK);
    if (input.empty()) to.close_end(1);
    for (;;) {
        pollfd fds[] = {{from.ends[0], POLLIN, 0}, {to.ends[1], POLLOUT, 0}};
        if (::poll(fds, to.ends[1] >= 0 ? 2 : 1, -1) < 0 && errno != EINTR) return false;
        if (to.ends[1] >= 0 && fds[1].revents != 0) {
            const ssize_t wrote = ::write(to.ends[1], input.data(), input.size());
            if (wrote > 0) input.remove_prefix(static_cast<std::size_t>(wrote));
            if (input.empty() || (wrote < 0 && errno != EAGAIN && errno != EINTR))
                to.close_end(1);  // it does not want the rest
        }
        if (fds[0].revents == 0) continue;
        char buffer[16384];
        const ssize_t got = ::read(from.ends[0], buffer, sizeof buffer);
        if (got == 0) return true;
        if (got < 0 && errno != EINTR) return false;
        if (got > 0) output.append(buffer, static_cast<std::size_t>(got));
        if (output.size() > output_max) return false;
    }
}

}  // namespace

Result<Child> Child::start(const std::vector<std::string>& command, const Environment& more,
                           bool own_group) {
    const auto pid = spawn(command, more, own_group, nullptr);
    if (!pid.ok()) return pid.error();
    return Child(pid.value(), own_group);
}

Result<Child> Child::start_apart(const std::vector<std::string>& command, const Environment& more,
                                 const std::string& output) {
    const int file = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) {
        return Error{Errc::io_failed, errno, 0, "the file for a command's output cannot be opened"};
    }
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, file, 1);
    posix_spawn_file_actions_adddup2(&files, file, 2);
    const auto pid = spawn(command, more, true, &files);
    posix_spawn_file_actions_destroy(&files);
    ::close(file);
    if (!pid.ok()) return pid.error();
    return Child(pid.value(), true);
}

std::optional<int> Child::poll() {
    if (status_) return status_;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) status_ = shell_status(status);
    return status_;
}

void Child::send(int signal) const {
    if (!status_) ::kill(own_group_ ? -pid_ : pid_, signal);
}

Result<Filtered> filter(const std::vector<std::string>& command, const Child::Environment& more,
                        std::string_view input, std::size_t output_max) {
    Pipe to;
    Pipe from;
    if (!to.open() || !from.open())
        return Error{Errc::io_failed, errno, 0, "a pipe could not be made"};
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, to.ends[0], 0);
    posix_spawn_file_actions_adddup2(&files, from.ends[1], 1);
    const auto pid = spawn(command, more, false, &files);
    posix_spawn_file_actions_destroy(&files);
    if (!pid.ok()) return pid.error();
    to.close_end(0);
    from.close_end(1);
    Filtered out;
    const bool whole =
        without_sigpipe([&] { return exchange(to, from, input, output_max, out.output); });
    if (!whole) ::kill(pid.value(), SIGKILL);
    int status = 0;
    while (::waitpid(pid.value(), &status, 0) < 0 && errno == EINTR) {
    }
    if (!whole) return Error{Errc::io_failed, 0, 0, "the command wrote too much to stdout"};
    out.status = shell_status(status);
    return out;
}

}  // namespace ferry::cli
