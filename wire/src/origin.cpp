#include "ferry/wire/origin.hpp"

#include <algorithm>
#include <charconv>

#include "ferry/platform/assert.hpp"

namespace ferry::wire {
namespace {

constexpr std::uint64_t number_max = (1ULL << 63) - 1;

bool valid_producer(std::string_view name) {
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    };
    return !name.empty() && name.size() <= limits::origin_producer_bytes_max &&
           std::all_of(name.begin(), name.end(), fits);
}

bool valid_number(std::uint64_t number) {
    return number >= 1 && number <= number_max;
}

bool read_number(std::string_view text, std::uint64_t& out) {
    if (text.empty() || text.size() > 19 || text.front() < '1' || text.front() > '9') return false;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
    return read.ec == std::errc{} && read.ptr == text.data() + text.size() && valid_number(out);
}

}  // namespace

bool valid_origin(const Origin& origin) {
    return valid_producer(origin.producer) && valid_number(origin.epoch) &&
           valid_number(origin.sequence);
}

void format_origin(const Origin& origin, std::string& out) {
    FERRY_ASSERT(valid_origin(origin), "an origin is checked before it is written");
    char number[20];
    out.assign(origin.producer);
    for (const std::uint64_t part : {origin.epoch, origin.sequence}) {
        const auto end = std::to_chars(number, number + sizeof number, part).ptr;
        out.append(1, ':').append(number, static_cast<std::size_t>(end - number));
    }
}

Result<Origin> parse_origin(std::string_view text) {
    constexpr Error not_an_origin{Errc::rejected, 0, 0,
                                  "the id is not of the form PRODUCER:EPOCH:SEQUENCE"};
    if (text.size() > limits::origin_bytes_max) return not_an_origin;
    const std::size_t first = text.find(':');
    if (first == std::string_view::npos) return not_an_origin;
    const std::size_t second = text.find(':', first + 1);
    if (second == std::string_view::npos) return not_an_origin;
    Origin origin;
    origin.producer = text.substr(0, first);
    if (!valid_producer(origin.producer) ||
        !read_number(text.substr(first + 1, second - first - 1), origin.epoch) ||
        !read_number(text.substr(second + 1), origin.sequence)) {
        return not_an_origin;
    }
    return origin;
}

}  // namespace ferry::wire
