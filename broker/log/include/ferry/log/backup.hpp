#pragma once

#include <string>

#include "ferry/platform/file.hpp"
#include "ferry/platform/result.hpp"

namespace ferry::log {

/// Checks a backup made by CommitLog::backup: its manifest, and every file's length and CRC32C.
///
/// Blocking  reads all of it.
/// Errors    not_found (no manifest: not a whole backup), corrupt, io_failed. `text`, when given,
/// gets
///           one sentence for the operator, also on success.
Status verify_backup(FileSystem& files, const std::string& directory, std::string* text = nullptr);

}  // namespace ferry::log
