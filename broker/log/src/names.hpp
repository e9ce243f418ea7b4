#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ferry/log/commit_log.hpp"

// Names of the files in a data directory.
namespace ferry::log {

/// "<position>-<epoch><suffix>", 16 lower-case hex digits each.
std::string file_name(Position position, std::uint64_t epoch, std::string_view suffix);

struct NumberedName {
    Position position = 0;
    std::uint64_t epoch = 0;
    std::string name;
};

/// The names in a directory by kind. Names that are none of ours are left alone.
struct DirectoryListing {
    std::vector<NumberedName> plain;        // .seg
    std::vector<NumberedName> compacted;    // .cmp
    std::vector<NumberedName> checkpoints;  // .ckp
    std::vector<NumberedName> gone;         // .gone
    std::vector<std::string> spares;
    std::vector<std::string> temporary;
    bool ballast = false;
};

DirectoryListing sort_names(const std::vector<std::string>& names);

inline std::string join_path(const std::string& directory, std::string_view name) {
    std::string path = directory;
    path += '/';
    path += name;
    return path;
}

}  // namespace ferry::log
