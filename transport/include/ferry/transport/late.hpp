#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "ferry/transport/message.hpp"

namespace ferry::transport {

/// Parts of messages that cost more to read than most handlers have a use for: they are read when
/// somebody asks.
///
/// Threads   Any, also at the same time.
class LateParts {
public:
    virtual ~LateParts() = default;
    /// Completes the view of its `which`th message: exchange, routing key, properties.
    virtual void read(std::size_t which, MessageView& view) = 0;
};

/// A delivery whose message may show only its payload until its late parts are read.
struct LateReceived : Received {
    LateParts* late = nullptr;  // lives as long as `bytes`; null: the message is complete
    std::size_t which = 0;
    std::string_view ordering_key;  // with `late`: as its properties will have it

    void complete() {
        if (late != nullptr) late->read(which, delivery.message);
        late = nullptr;
    }
};

}  // namespace ferry::transport
