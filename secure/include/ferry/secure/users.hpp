#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/platform/result.hpp"
#include "ferry/secure/scram.hpp"

/// The users file of a broker: written by `ferry user`, read by ferryd; docs/security.md.
namespace ferry::secure {

inline constexpr std::size_t users_file_bytes_max = 16U << 20;
inline constexpr std::size_t users_max = 10'000;
inline constexpr std::size_t user_name_bytes_max = 128;
inline constexpr std::size_t patterns_max = 64;  // of one user and right
inline constexpr std::size_t pattern_bytes_max = 255;

struct User {
    ScramVerifier verifier;
    bool has_password = true;  // false: only a certificate lets it in
    std::vector<std::string> configure;
    std::vector<std::string> write;
    std::vector<std::string> read;
    bool admin = false;
    std::uint32_t connections_max = 0;  // 0: as many as the broker takes
    std::uint64_t publish_rate = 0;     // messages a second, of all its connections; 0: any
    bool operator==(const User&) const = default;
};

using Users = std::map<std::string, User, std::less<>>;

/// 1 to 128 of a-z A-Z 0-9 . _ - @
[[nodiscard]] bool valid_user_name(std::string_view name);
/// Names with * for any run of characters and ? for one.
[[nodiscard]] bool valid_pattern(std::string_view pattern);
/// Empty, or what a password must be.
[[nodiscard]] std::string complaint_of_password(std::string_view password);

/// Errors are sentences that name the line; never what stands in it.
[[nodiscard]] ResultOr<Users, std::string> parse_users(std::string_view text);
[[nodiscard]] std::string users_text(const Users& users);

/// Reads the file. Errors: a sentence; also when others than its owner may read or write it.
[[nodiscard]] ResultOr<Users, std::string> load_users(const std::string& path);
/// Replaces the file at once and durably, mode 0600. Empty, or what went wrong; the file is then
/// as it was.
[[nodiscard]] std::string save_users(const std::string& path, const Users& users);

/// Changes whenever the file does; for who looks now and then. Empty: it is not there.
[[nodiscard]] std::string file_stamp(const std::string& path);

/// The first line of a file that only its owner may read, for a password. Nothing: `wrong` says
/// why.
[[nodiscard]] std::optional<std::string> read_secret_file(const std::string& path,
                                                          std::string& wrong);

}  // namespace ferry::secure
