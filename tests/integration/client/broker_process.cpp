#include "broker_process.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace ferry::test {
namespace {

std::string read_line(int fd) {
    std::string line;
    char c = 0;
    while (::read(fd, &c, 1) == 1 && c != '\n') line.push_back(c);
    return line;
}

}  // namespace

BrokerProcess::BrokerProcess() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ferry-client-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    directory_ = pattern;
    start();
}

BrokerProcess::~BrokerProcess() {
    if (pid_ > 0) end_with(SIGKILL);
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

void BrokerProcess::start() {
    const char* const given = std::getenv("FERRYD");
    const std::string program = given != nullptr ? given : FERRYD_PATH;
    const std::string data = directory_ + "/data";
    const std::string listen = "127.0.0.1:" + std::to_string(port_);
    int out[2];
    if (::pipe(out) != 0) throw std::runtime_error("no pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
        ::dup2(out[1], STDOUT_FILENO);
        ::close(out[0]);
        ::close(out[1]);
        ::execl(program.c_str(), program.c_str(), "--data", data.c_str(), "--listen",
                listen.c_str(), "--http", "", static_cast<char*>(nullptr));
        ::_exit(127);
    }
    ::close(out[1]);
    const std::string line = read_line(out[0]);
    ::close(out[0]);
    const std::string before = "listening on 127.0.0.1:";
    const std::size_t at = line.find(before);
    if (at == std::string::npos) throw std::runtime_error("ferryd did not start: " + line);
    port_ = static_cast<std::uint16_t>(std::stoul(line.substr(at + before.size())));
}

int BrokerProcess::end_with(int signal) {
    int status = 0;
    ::kill(pid_, signal);
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void BrokerProcess::kill() {
    end_with(SIGKILL);
}
int BrokerProcess::stop() {
    return end_with(SIGTERM);
}

}  // namespace ferry::test
