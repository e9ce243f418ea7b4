#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "native/core.hpp"
#include "native/invented_name.hpp"

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

}  // namespace ferry::transport::native
