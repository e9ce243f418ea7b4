#include "password.hpp"

#include <termios.h>
#include <unistd.h>

#include <cstdio>

#include "ferry/secure/users.hpp"

namespace ferry::cli {
namespace {

std::string read_line() {
    std::string line;
    for (int c = std::getchar(); c != EOF && c != '\n'; c = std::getchar()) {
        if (line.size() > secure::password_bytes_max) break;
        line.push_back(static_cast<char>(c));
    }
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return line;
}

std::string read_hidden(const std::string& prompt) {
    std::fprintf(stderr, "%s", prompt.c_str());
    std::fflush(stderr);
    termios shown{};
    const bool terminal = tcgetattr(STDIN_FILENO, &shown) == 0;
    termios hidden = shown;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    if (terminal) tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    std::string line = read_line();
    if (terminal) tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    std::fprintf(stderr, "\n");
    return line;
}

}  // namespace

std::optional<std::string> ask_password(const std::string& prompt, std::string& wrong) {
    if (::isatty(STDIN_FILENO) != 1) {
        wrong = "there is no terminal to ask for the password: use --password-file";
        return std::nullopt;
    }
    std::string password = read_hidden(prompt);
    wrong = secure::complaint_of_password(password);
    if (!wrong.empty()) return std::nullopt;
    return password;
}

std::optional<std::string> ask_new_password(const std::string& prompt, std::string& wrong) {
    const bool terminal = ::isatty(STDIN_FILENO) == 1;
    std::string password = terminal ? read_hidden(prompt) : read_line();
    wrong = secure::complaint_of_password(password);
    if (wrong.empty() && terminal && read_hidden("Once more: ") != password)
        wrong = "the two are not the same";
    if (!wrong.empty()) return std::nullopt;
    return password;
}

}  // namespace ferry::cli
