#include "ferry/secure/users.hpp"

#include <algorithm>
#include <charconv>

namespace ferry::secure {
namespace {

constexpr std::string_view first_line = "ferrymq-users 1";

bool name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

template <class T>
bool read_number(std::string_view text, T& out) {
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, out);
    return read.ec == std::errc{} && read.ptr == end;
}

/// The word at the beginning of `text`, taken off with the spaces behind it.
std::string_view take_word(std::string_view& text) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(end);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    return word;
}

bool read_patterns(std::string_view text, std::vector<std::string>& out) {
    while (!text.empty()) {
        const std::string_view pattern = take_word(text);
        if (!valid_pattern(pattern) || out.size() >= patterns_max) return false;
        out.emplace_back(pattern);
    }
    return true;
}

/// One line of a user; false: it is none.
bool read_line(User& user, std::string_view line) {
    const std::string_view key = take_word(line);
    if (key == "password") {
        auto verifier = ScramVerifier::parse(line);
        if (!verifier) return false;
        user.verifier = std::move(*verifier);
        return user.has_password = true;
    }
    if (key == "configure") return read_patterns(line, user.configure);
    if (key == "write") return read_patterns(line, user.write);
    if (key == "read") return read_patterns(line, user.read);
    if (key == "connections") return read_number(line, user.connections_max);
    if (key == "publish_rate") return read_number(line, user.publish_rate);
    if (key != "admin" || !line.empty()) return false;
    return user.admin = true;
}

void add_patterns(std::string& text, std::string_view key,
                  const std::vector<std::string>& patterns) {
    if (patterns.empty()) return;
    text += "  ";
    text += key;
    for (const std::string& pattern : patterns) text += " " + pattern;
    text += "\n";
}

}  // namespace

bool valid_user_name(std::string_view name) {
    return !name.empty() && name.size() <= user_name_bytes_max &&
           std::all_of(name.begin(), name.end(), [](char c) { return name_char(c) || c == '@'; });
}

bool valid_pattern(std::string_view pattern) {
    return !pattern.empty() && pattern.size() <= pattern_bytes_max &&
           std::all_of(pattern.begin(), pattern.end(),
                       [](char c) { return name_char(c) || c == '*' || c == '?'; });
}

std::string complaint_of_password(std::string_view password) {
    if (password.empty()) return "the password is empty";
    if (password.size() > password_bytes_max) return "a password has at most 512 bytes";
    const bool plain = std::all_of(password.begin(), password.end(),
                                   [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
    return plain ? "" : "a password has no control characters";
}

ResultOr<Users, std::string> parse_users(std::string_view text) {
    Users users;
    User* current = nullptr;
    std::size_t number = 0;
    while (!text.empty()) {
        ++number;
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const auto wrong = [&](const char* what) {
            return "line " + std::to_string(number) + " " + what;
        };
        if (number == 1) {
            if (line != first_line) return wrong("is not 'ferrymq-users 1': no users file");
            continue;
        }
        const bool indented = line.starts_with("  ");
        if (indented) line.remove_prefix(2);
        if (line.empty() || line.front() == '#') continue;
        if (indented) {
            if (current == nullptr || !read_line(*current, line))
                return wrong("is not what a user has");
            continue;
        }
        if (take_word(line) != "user" || !valid_user_name(line)) return wrong("is no user");
        if (users.size() >= users_max) return wrong("is one user too many: at most 10000");
        const auto [at, fresh] = users.try_emplace(std::string(line));
        if (!fresh) return wrong("names a user that was there before");
        current = &at->second;
        current->has_password = false;
    }
    if (number == 0) return std::string("it is empty: no users file");
    return users;
}

std::string users_text(const Users& users) {
    std::string text(first_line);
    text += "\n# Written by `ferry user`. Passwords are not in here, only what checks them.\n";
    for (const auto& [name, user] : users) {
        text += "\nuser " + name + "\n";
        if (user.has_password) text += "  password " + user.verifier.text() + "\n";
        add_patterns(text, "configure", user.configure);
        add_patterns(text, "write", user.write);
        add_patterns(text, "read", user.read);
        if (user.admin) text += "  admin\n";
        if (user.connections_max != 0)
            text += "  connections " + std::to_string(user.connections_max) + "\n";
        if (user.publish_rate != 0)
            text += "  publish_rate " + std::to_string(user.publish_rate) + "\n";
    }
    return text;
}

}  // namespace ferry::secure
