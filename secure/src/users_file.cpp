// The users file on disk.
#include <sys/stat.h>

#include <cstring>

#include "ferry/platform/file.hpp"
#include "ferry/secure/users.hpp"

namespace ferry::secure {
namespace {

constexpr std::size_t secret_file_bytes_max = 4096;

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == path.npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

std::string sentence(const std::string& path, const Error& error) {
    std::string text = path + ": " + std::string(error.what);
    if (error.os_errno != 0) text += std::string(" (") + std::strerror(error.os_errno) + ")";
    return text;
}

/// Empty, or who else may look into it.
std::string complaint_of_mode(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return {};  // reading it tells
    if (!S_ISREG(info.st_mode) || (info.st_mode & 077) == 0) return {};
    return path + " may be read or written by others than its owner: chmod 600 " + path;
}

Status write_whole(FileSystem& files, const std::string& path, const std::string& text) {
    files.remove(path).ignore("left by an attempt that was cut off; usually there is none");
    auto file = files.open(path, FileSystem::Open::create_exclusive);
    if (!file.ok()) return file.error();
    if (auto written = file.value()->write_at(0, as_bytes(text)); !written.ok()) return written;
    return file.value()->sync_data();
}

}  // namespace

ResultOr<Users, std::string> load_users(const std::string& path) {
    if (std::string wrong = complaint_of_mode(path); !wrong.empty()) return wrong;
    const auto files = make_posix_file_system();
    const auto bytes = read_file(*files, path, users_file_bytes_max);
    if (!bytes.ok()) return sentence(path, bytes.error());
    auto users = parse_users(as_text(bytes.value()));
    if (!users.ok()) return path + ": " + users.error();
    return users;
}

std::string save_users(const std::string& path, const Users& users) {
    const auto files = make_posix_file_system();
    const std::string fresh = path + ".new";
    if (const auto done = write_whole(*files, fresh, users_text(users)); !done.ok())
        return sentence(fresh, done.error());
    if (const auto done = files->rename(fresh, path); !done.ok())
        return sentence(path, done.error());
    if (const auto done = files->sync_directory(parent_of(path)); !done.ok())
        return sentence(path, done.error());
    return {};
}

std::string file_stamp(const std::string& path) {
    struct stat info {};
    if (path.empty() || ::stat(path.c_str(), &info) != 0) return {};
    return std::to_string(info.st_ino) + " " + std::to_string(info.st_size) + " " +
           std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec) + " " +
           std::to_string(info.st_mode);
}

std::optional<std::string> read_secret_file(const std::string& path, std::string& wrong) {
    wrong = complaint_of_mode(path);
    if (!wrong.empty()) return std::nullopt;
    const auto files = make_posix_file_system();
    const auto bytes = read_file(*files, path, secret_file_bytes_max);
    if (!bytes.ok()) {
        wrong = sentence(path, bytes.error());
        return std::nullopt;
    }
    std::string secret(as_text(bytes.value()));
    secret.resize(std::min(secret.find_first_of("\r\n"), secret.size()));
    wrong = complaint_of_password(secret);
    if (wrong.empty()) return secret;
    wrong = path + ": " + wrong;
    return std::nullopt;
}

}  // namespace ferry::secure
