#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "ferry/saga/definition.hpp"

namespace ferry::saga {

using Json = nlohmann::json;

/// Nothing: it is no JSON, or deeper than limits::json_depth_max.
[[nodiscard]] std::optional<Json> parse_json(std::string_view text);
/// Whether parse_json() would give something; makes no value.
[[nodiscard]] bool valid_json(std::string_view text);
/// "" or /a/b/0, with ~0 and ~1 as in RFC 6901.
[[nodiscard]] bool valid_pointer(std::string_view text);
/// Requires  valid_pointer(text)
[[nodiscard]] std::vector<std::string> split_pointer(std::string_view text);
/// Cut at `bytes_max`, never in the middle of a UTF-8 letter; what is not UTF-8 is replaced.
[[nodiscard]] std::string plain(std::string_view text, std::size_t bytes_max);

/// What pointers of a definition point into. Parses only what is asked for.
class Known {
public:
    virtual ~Known() = default;
    /// JSON texts; nothing: there is none.
    [[nodiscard]] virtual std::optional<std::string_view> input() const = 0;
    [[nodiscard]] virtual std::optional<std::string_view> result_of(
        std::string_view step) const = 0;
    [[nodiscard]] virtual std::string_view id() const = 0;
};

struct Made {
    bool ok = true;
    std::string text;  // the JSON, or what is missing
};
/// The message of a step.
[[nodiscard]] Made make_json(const std::vector<Mapping>& mappings, const Known& known);
[[nodiscard]] bool holds(const std::vector<Condition>& conditions, const Known& known);

}  // namespace ferry::saga
