#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "row.hpp"

namespace ferry::outbox {

/// What the JSON options of ferry_publish and ferry_append say. Owns its texts.
struct SqlOptions {
    std::string exchange;  // of ferry_append only
    bool has_exchange = false;
    std::string ordering_key;
    std::string content_type;
    std::string correlation_id;
    std::string reply_to;
    std::string headers_json;
    Times times;
    std::uint64_t priority = 0;

    /// Fills the columns that options may set. The options outlive the row.
    void apply_to(Row& row) const;
};

enum class SqlFunction : std::uint8_t { publish, append };

/// Errors    refused: no JSON object, an unknown name, a wrong type, a value out of range; the text
///           names the option and, for an unknown one, those that there are.
sqlite::Answer<SqlOptions> parse_options(std::string_view json, SqlFunction function);

}  // namespace ferry::outbox
