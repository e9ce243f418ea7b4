#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/platform/bytes.hpp"

/// What signing in is made of; OpenSSL's primitives. Pure functions but for random_bytes().
namespace ferry::secure {

using Digest = std::array<std::byte, 32>;

/// Fit for keys and nonces. Ends the process if the system has none to give.
[[nodiscard]] std::vector<std::byte> random_bytes(std::size_t count);

[[nodiscard]] Digest sha256(Bytes data);
[[nodiscard]] Digest hmac_sha256(Bytes key, Bytes data);
/// Takes its time on purpose, in proportion to `iterations`.
[[nodiscard]] Digest pbkdf2_sha256(std::string_view password, Bytes salt, std::uint32_t iterations);

/// Takes the same time wherever two texts of one length differ.
[[nodiscard]] bool same_secret(Bytes a, Bytes b);

[[nodiscard]] std::string base64(Bytes data);
/// Empty optional: it is not base64 with its padding.
[[nodiscard]] std::optional<std::vector<std::byte>> from_base64(std::string_view text);

/// Overwrites what a secret was in, also where a compiler sees no reason to.
void wipe(std::string& secret);

}  // namespace ferry::secure
