#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace ferry::bench {

/// A ferryd on a directory and a port of its own, ended with this object.
class BrokerChild {
public:
    BrokerChild(const std::string& program, const std::string& directory) {
        int out[2];
        if (::pipe(out) != 0) std::abort();
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(out[1], STDOUT_FILENO);
            ::close(out[0]);
            ::close(out[1]);
            ::execl(program.c_str(), program.c_str(), "--data", directory.c_str(), "--listen",
                    "127.0.0.1:0", "--http", "", static_cast<char*>(nullptr));
            ::_exit(127);
        }
        ::close(out[1]);
        std::string line;
        for (char c = 0; ::read(out[0], &c, 1) == 1 && c != '\n';) line.push_back(c);
        out_ = out[0];
        const std::string before = "listening on 127.0.0.1:";
        const std::size_t at = line.find(before);
        if (at == std::string::npos) {
            std::fprintf(stderr, "%s did not start: %s\n", program.c_str(), line.c_str());
            std::exit(1);
        }
        url_ = "ferry://127.0.0.1:" + std::to_string(std::atoi(line.c_str() + at + before.size()));
    }
    ~BrokerChild() {
        ::kill(pid_, SIGTERM);
        ::waitpid(pid_, nullptr, 0);
        ::close(out_);
    }
    BrokerChild(const BrokerChild&) = delete;
    BrokerChild& operator=(const BrokerChild&) = delete;

    [[nodiscard]] const std::string& url() const { return url_; }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    pid_t pid_ = -1;
    int out_ = -1;
    std::string url_;
};

}  // namespace ferry::bench
