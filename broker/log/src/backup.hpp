#pragma once

#include "checkpoint_file.hpp"
#include "core.hpp"
#include "ferry/log/backup.hpp"
#include "recovery.hpp"

namespace ferry::log {

/// Copies everything up to the synced end into `target`. Runs on the housekeeping thread, which is
/// the only one that removes or replaces files, so what it copies stays put. `between` runs after
/// every file.
Result<CommitLog::BackupResult> copy_log(const Core& core, const std::string& target,
                                         const std::vector<KeptCheckpoint>& checkpoints,
                                         const std::vector<NumberedName>& gone,
                                         const std::function<void()>& between);

}  // namespace ferry::log
