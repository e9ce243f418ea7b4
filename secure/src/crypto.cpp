#include "ferry/secure/crypto.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <limits>

#include "ferry/platform/assert.hpp"

namespace ferry::secure {
namespace {

const unsigned char* octets(Bytes bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}

unsigned char* octets(Digest& digest) {
    return reinterpret_cast<unsigned char*>(digest.data());
}

}  // namespace

std::vector<std::byte> random_bytes(std::size_t count) {
    std::vector<std::byte> bytes(count);
    const int got =
        RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count));
    FERRY_ASSERT(got == 1, "the system has randomness");
    return bytes;
}

Digest sha256(Bytes data) {
    Digest digest{};
    SHA256(octets(data), data.size(), octets(digest));
    return digest;
}

Digest hmac_sha256(Bytes key, Bytes data) {
    Digest digest{};
    unsigned int size = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), octets(data), data.size(),
         octets(digest), &size);
    FERRY_ASSERT(size == digest.size(), "SHA-256 has 32 bytes");
    return digest;
}

Digest pbkdf2_sha256(std::string_view password, Bytes salt, std::uint32_t iterations) {
    Digest digest{};
    const int done =
        PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), octets(salt),
                          static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha256(),
                          static_cast<int>(digest.size()), octets(digest));
    FERRY_ASSERT(done == 1, "the arguments were checked");
    return digest;
}

bool same_secret(Bytes a, Bytes b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string base64(Bytes data) {
    std::string text((data.size() + 2) / 3 * 4 + 1, '\0');
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), octets(data),
                                     static_cast<int>(data.size()));
    text.resize(static_cast<std::size_t>(size));
    return text;
}

std::optional<std::vector<std::byte>> from_base64(std::string_view text) {
    if (text.size() % 4 != 0 || text.size() > 1U << 20) return std::nullopt;
    // OpenSSL passes over spaces and line ends; nothing that we read has any.
    for (const char c : text) {
        const bool known = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
        if (!known) return std::nullopt;
    }
    std::vector<std::byte> bytes(text.size() / 4 * 3);
    const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
    if (size < 0) return std::nullopt;
    std::size_t padding = 0;
    while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=')
        ++padding;
    bytes.resize(static_cast<std::size_t>(size) - padding);
    return bytes;
}

void wipe(std::string& secret) {
    OPENSSL_cleanse(secret.data(), secret.size());
    secret.clear();
}

}  // namespace ferry::secure
