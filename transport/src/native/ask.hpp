#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "ferry/platform/random.hpp"
#include "native/core.hpp"

// What every request of the client is made of: encode the fields, ask, decode the answer.
namespace ferry::transport::native {

inline RequestPtr make_request(wire::Verb verb, std::uint32_t field_count, bool repeatable) {
    auto request = std::make_shared<Request>();
    request->verb = verb;
    request->field_count = field_count;
    request->repeatable = repeatable;
    return request;
}

/// Asks and decodes.
template <class T, class Decode>
Answer<T> ask(Core& core, RequestPtr request, Timeout timeout, Decode decode) {
    const auto answer = core.call(std::move(request), timeout);
    if (!answer.ok()) return answer.error();
    T out{};
    if (!decode(answer.value(), out)) {
        return ClientError{Errc::indeterminate, wire::Code::ok, "the broker's answer is malformed"};
    }
    return out;
}

/// `prefix` and 128 random bits.
inline std::string invented_name(std::string_view prefix) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string name(prefix);
    for (int word = 0; word < 2; ++word) {
        std::uint64_t bits = system_random().next();
        for (int i = 0; i < 16; ++i, bits >>= 4) name.push_back(digits[bits & 15]);
    }
    return name;
}

}  // namespace ferry::transport::native
