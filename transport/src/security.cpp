#include "ferry/transport/security.hpp"

#include <cstdlib>

#include "ferry/secure/users.hpp"

namespace ferry::transport {
namespace {

std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

}  // namespace

Security Security::from_environment(std::string& wrong) {
    Security found;
    wrong.clear();
    found.user = variable("FERRY_USER");
    found.ca_file = variable("FERRY_CA_FILE");
    found.certificate_file = variable("FERRY_CERT_FILE");
    found.key_file = variable("FERRY_KEY_FILE");
    if (const std::string file = variable("FERRY_PASSWORD_FILE"); !file.empty())
        found.password = secure::read_secret_file(file, wrong).value_or("");
    return found;
}

}  // namespace ferry::transport
