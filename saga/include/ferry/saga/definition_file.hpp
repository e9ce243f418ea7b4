#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/saga/definition.hpp"

namespace ferry::saga {

/// What is wrong in a file. `line` is 0 where it is the whole file.
struct FileComplaint {
    std::string file;
    std::uint32_t line = 0;
    std::string field;
    std::string what;
    /// "order.toml, line 12: steps.charge.timeout: ..."
    [[nodiscard]] std::string text() const;
};

struct ReadDefinition {
    std::optional<Definition> definition;  // nothing if there is any complaint
    std::vector<FileComplaint> complaints;
};

/// Reads a definition in TOML; docs/saga.md lists the keys. `file` is only for complaints. The
/// definition is refused whole, with everything that is wrong.
///
/// Threads   any. Memory  in proportion to `text`, which may have definition_file_bytes_max bytes.
[[nodiscard]] ReadDefinition read_definition(std::string_view text, const std::string& file);

/// Drawings of a definition: plain text for a terminal, and DOT for Graphviz.
[[nodiscard]] std::string graph_text(const Definition& definition);
[[nodiscard]] std::string graph_dot(const Definition& definition);

}  // namespace ferry::saga
