#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/transport/kafka/settings.hpp"
#include "ferry/transport/port.hpp"

namespace ferry::transport::kafka {

struct TransformerOptions {
    std::string url;
    std::string from;   // the queue (topic) that is read
    std::string group;  // empty: its name
    /// One for each instance that runs at a time, and the same after its restart: whoever comes
    /// with it later fences the one before. Empty: Settings::transactional_id, or GROUP-FROM.
    std::string transactional_id;
    std::string name = "ferry-transformer";
    std::uint32_t connect_timeout_ms = 10'000;
    std::uint32_t batch_messages = 500;  // at most so many in one transaction
    std::function<void(std::string_view)> on_event;
};

/// Takes messages of one topic and publishes others, exactly once: what is published and the
/// offsets that say so are one Kafka transaction. Readers see it if they read committed messages
/// only, as everything here does.
///
/// Limits     Of one Kafka cluster. A handler that writes to a database, calls another service or
///            sends by another connection does that at least once: use ferry::consumer with its
///            inbox for those. Handlers run again after an aborted transaction.
/// Threads    One at a time.
class Transformer {
public:
    /// What a message becomes: appended to `out`. False: give up the transaction; it comes again.
    using Transform = std::function<bool(const Delivery& delivery, std::vector<Message>& out)>;

    virtual ~Transformer() = default;
    /// One transaction with what is there, after waiting up to `timeout` for something. Returns how
    /// many messages it took; 0: none came.
    ///
    /// Errors    conflict with FENCED: another instance has this transactional id; this one is done
    ///           for. rejected: a message cannot be published here, or the handler said no; nothing
    ///           of it has happened and the same messages come again. unreachable, indeterminate:
    ///           the same, ask again.
    virtual Answer<std::uint64_t> turn(const Transform& transform, Timeout timeout) = 0;
};

/// Blocks until the transactional id is ours.
///
/// Errors    rejected, unreachable, NO_ROUTE.
[[nodiscard]] Answer<std::unique_ptr<Transformer>> make_transformer(TransformerOptions options);

}  // namespace ferry::transport::kafka
