#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "ferry/transport/kafka/records.hpp"
#include "ferry/transport/message.hpp"

namespace ferry::transport::kafka {

/// Records that were read together become messages over one piece of memory, which lives as long as
/// one of them. What a message has in common with the one before, its topic, often all but its
/// payload, is not written again.
///
/// Threads   One.
class Batch {
public:
    /// A new piece of memory, for about so many payload bytes.
    void begin(std::size_t messages, std::size_t payload_bytes);
    /// Appends the record; `to` has it after show().
    ///
    /// Requires  record.topic lives until show().
    RecordExtras write(const RecordView& record, Received& to);
    void show();
    [[nodiscard]] std::size_t size() const { return all_.size(); }

private:
    struct Part {
        std::size_t at = 0;
        std::size_t size = 0;
    };
    struct Parts {
        Received* to = nullptr;
        Part exchange;
        Part routing_key;
        Part properties;
        Part payload;
    };

    Part append(std::string_view text);
    Part end_of(std::size_t begin) const { return {begin, bytes_->size() - begin}; }
    void write_plain(const RecordView& record, const wire::PropertyViews& views, Parts& parts);

    std::shared_ptr<std::vector<std::byte>> bytes_;
    std::vector<Parts> all_;
    // Of the last plain record:
    std::string_view topic_;
    Part topic_at_;
    bool bare_ = false;  // no key, no fields: its properties are its time alone
    std::int64_t time_ms_ = 0;
    Part properties_at_;
};

}  // namespace ferry::transport::kafka
