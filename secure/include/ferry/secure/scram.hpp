#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/secure/crypto.hpp"

/// SCRAM-SHA-256 (RFC 5802, RFC 7677): both sides prove that they know the password, and neither
/// sends it. Channel binding is tls-exporter (RFC 9266). Passwords are taken byte for byte.
namespace ferry::secure {

inline constexpr std::uint32_t scram_iterations = 16'384;
inline constexpr std::uint32_t scram_iterations_min = 4'096;  // below: refused by the client
inline constexpr std::uint32_t scram_iterations_max = 1'000'000;
inline constexpr std::size_t scram_salt_bytes = 16;
inline constexpr std::size_t scram_text_bytes_max = 1'024;  // of each message
inline constexpr std::size_t password_bytes_max = 512;

/// What a broker keeps instead of a password: it can check one with it, and who steals it cannot
/// sign in with it.
struct ScramVerifier {
    std::uint32_t iterations = scram_iterations;
    std::vector<std::byte> salt;
    Digest stored_key{};
    Digest server_key{};

    bool operator==(const ScramVerifier&) const = default;
    /// SCRAM-SHA-256$iterations:salt$stored key:server key
    [[nodiscard]] std::string text() const;
    [[nodiscard]] static std::optional<ScramVerifier> parse(std::string_view text);
    /// With a salt of its own. Takes some ten milliseconds.
    [[nodiscard]] static ScramVerifier of(std::string_view password);
    /// As somebody has it whom nobody knows: always the same for one name, and no password fits.
    [[nodiscard]] static ScramVerifier of_nobody(std::string_view name, Bytes secret);
    /// Takes as long as of().
    [[nodiscard]] bool fits(std::string_view password) const;
};

/// The broker's side of one attempt. Its nonce is drawn when it is made, so an answer that was
/// given to another attempt never fits.
class ScramServer {
public:
    /// `binding`: of the TLS connection; null: none. `plus`: the mechanism with binding was chosen.
    /// False: the message is not what the standard says, or somebody pretends to the client that
    /// this broker cannot bind.
    [[nodiscard]] bool begin(std::string_view client_first, bool plus, const Digest* binding);
    [[nodiscard]] const std::string& user() const { return user_; }
    [[nodiscard]] std::string challenge(const ScramVerifier& verifier);
    /// The last word of the broker, which proves that it knows the user. Nothing: it was not the
    /// right password, or not the answer to this challenge.
    [[nodiscard]] std::optional<std::string> finish(std::string_view client_final) const;

private:
    std::string user_;
    std::string nonce_;
    std::string header_;  // what the client must repeat, in base64
    std::string client_first_bare_;
    std::string server_first_;
    ScramVerifier verifier_;
};

/// The client's side of one attempt.
class ScramClient {
public:
    /// `binding`: of the TLS connection; null: none. `nonce`: empty, but for the standard's
    /// example.
    ScramClient(std::string user, std::string password, const Digest* binding,
                std::string nonce = {});
    ~ScramClient();
    ScramClient(const ScramClient&) = delete;
    ScramClient& operator=(const ScramClient&) = delete;

    [[nodiscard]] std::string first() const;
    /// Nothing: the broker's challenge is not one, or asks for less work than is safe.
    [[nodiscard]] std::optional<std::string> answer(std::string_view server_first);
    /// False: whoever answered does not know the user's password.
    [[nodiscard]] bool proves_itself(std::string_view server_final) const;

private:
    [[nodiscard]] std::string bare() const;

    std::string user_;
    std::string password_;
    std::string nonce_;
    std::string header_;   // gs2-header
    std::string binding_;  // gs2-header and binding, in base64
    std::string expected_;
};

}  // namespace ferry::secure
