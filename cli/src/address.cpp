#include "address.hpp"

#include <cstdlib>

namespace ferry::cli {

bool split_address(const std::string& text, std::string& host, std::uint16_t& port) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0) return false;
    host = text.substr(0, colon);
    if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    char* end = nullptr;
    const unsigned long number = std::strtoul(text.c_str() + colon + 1, &end, 10);
    if (end == text.c_str() + colon + 1 || *end != '\0' || number > 65535) return false;
    port = static_cast<std::uint16_t>(number);
    return true;
}

}  // namespace ferry::cli
