#pragma once

#include <string>

namespace ferry::transport {

/// How a client shows who it is, and whom it trusts; docs/security.md. The URL says whether the
/// connection is encrypted (ferrys://) and has no place for a password.
struct Security {
    /// Empty: nobody signs in, or (with by_certificate) the name in the certificate does.
    std::string user;
    std::string password;  // proved by SCRAM-SHA-256, never sent
    bool by_certificate = false;

    // PEM files, for ferrys:// only.
    std::string ca_file;           // whom to trust; empty: what the system trusts
    std::string certificate_file;  // shown to the broker, with its chain
    std::string key_file;          // empty: the key is in certificate_file

    /// From FERRY_USER, FERRY_PASSWORD_FILE, FERRY_CA_FILE, FERRY_CERT_FILE and FERRY_KEY_FILE.
    /// `wrong`: empty, or what cannot be used and why.
    [[nodiscard]] static Security from_environment(std::string& wrong);
};

}  // namespace ferry::transport
