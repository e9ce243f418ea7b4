#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <string>

#include "ferry/transport/error.hpp"
#include "ferry/wire/encoder.hpp"
#include "ferry/wire/verbs.hpp"

namespace ferry::transport::native {

struct SubscriptionState;

/// Something asked of the broker and its answer.
///
/// Threads   Core's mutex guards `sent`, `done`, `failed` and `result`; the rest is set before it
/// is handed over.
struct Request {
    wire::Verb verb{};
    std::uint32_t field_count = 0;
    wire::Buffer fields;      // msgpack of what follows on the request id
    bool repeatable = false;  // asked again after a reconnect; otherwise it is then indeterminate
    bool quiet = false;       // no answer is wanted
    bool session = false;     // part of setting up a connection: forgotten when that ends
    std::shared_ptr<SubscriptionState> subscription;  // what SUBSCRIBE and PULL are about
    std::uint64_t generation = 0;  // not 0: only fit for this connection, as its tags are
    /// On the I/O thread, without a lock, when the answer is there. Not called for what was
    /// forgotten.
    std::function<void(const Request&)> on_done;

    std::uint64_t id = 0;
    bool sent = false;
    bool done = false;
    bool failed = false;
    wire::Buffer result;  // msgpack of the field that carries the result
    ClientError error;
    std::condition_variable changed;
};
using RequestPtr = std::shared_ptr<Request>;

}  // namespace ferry::transport::native
