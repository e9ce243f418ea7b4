#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ferry/platform/bytes.hpp"
#include "ferry/wire/message.hpp"

// How a message lies in a Kafka record; docs/kafka.md describes it for others. Pure functions.
namespace ferry::transport::kafka {

// Headers of ours. An application's own must not begin with the prefix.
inline constexpr std::string_view header_prefix = "ferry.";
inline constexpr std::string_view id_header = "ferry.id";
inline constexpr std::string_view exchange_header = "ferry.exchange";
inline constexpr std::string_view routing_key_header = "ferry.routing-key";
inline constexpr std::string_view content_type_header = "ferry.content-type";
inline constexpr std::string_view reply_to_header = "ferry.reply-to";
inline constexpr std::string_view correlation_id_header = "ferry.correlation-id";
/// One letter for each of the application's headers that says of what type it is; absent: all text.
inline constexpr std::string_view types_header = "ferry.types";
/// Retry topics only: the number of the next attempt, and when it is due (ms since 1970).
inline constexpr std::string_view attempt_header = "ferry.attempt";
inline constexpr std::string_view due_header = "ferry.due";

/// A record's header. A null value and an empty one are two things in Kafka.
struct Field {
    std::string name;
    std::string value;
    bool null = false;
};

/// A message as a record, without its payload.
struct Record {
    std::string key;  // the ordering key; empty: none
    std::vector<Field> fields;
    std::int64_t timestamp_ms = 0;  // 0: now
};

/// What Kafka cannot do and this message asks for, as a sentence; empty: nothing.
[[nodiscard]] std::string_view unsupported(const wire::Properties& properties);

/// Requires  unsupported(properties) is empty.
/// Returns what is wrong with the message, as a literal; empty: nothing.
[[nodiscard]] std::string_view to_record(std::string_view exchange, std::string_view routing_key,
                                         const wire::Properties& properties, Record& out);

/// A record as it came; anybody may have written it.
struct RecordView {
    std::string_view topic;
    std::string_view key;
    std::string_view payload;
    std::vector<std::pair<std::string_view, std::string_view>> fields;  // data() null: a null value
    std::int64_t timestamp_ms = 0;
};

/// What a record says beside the message.
struct RecordExtras {
    std::uint64_t attempt = 1;
    std::uint64_t due_ms = 0;
    std::uint32_t dropped = 0;  // headers that were over our limits
};

inline constexpr std::size_t hashed_key_bytes = 20;
using HashedKey = std::array<char, hashed_key_bytes + 1>;
/// The ordering key that a record's key makes: itself or, if it is not one within our limits, its
/// hash. A view of one of the two.
[[nodiscard]] std::string_view ordering_key(std::string_view key, HashedKey& hashed);

/// Any record makes a message within our limits: headers over them are left out and counted, a key
/// of more than 255 bytes becomes its hash (equal keys stay equal). The payload is left where it
/// is.
void to_message(const RecordView& record, wire::Message& out, RecordExtras& extras);

/// The same without copies for the plain ones: published to the topic itself, without headers of
/// the application. The routing key is the topic. False: the record is not plain, `out` is
/// unspecified.
[[nodiscard]] bool to_views(const RecordView& record, wire::PropertyViews& out);

}  // namespace ferry::transport::kafka
