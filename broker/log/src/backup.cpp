#include "backup.hpp"

namespace ferry::log {

Result<CommitLog::BackupResult> copy_log(const Core&, const std::string&,
                                         const std::vector<KeptCheckpoint>&,
                                         const std::vector<NumberedName>&,
                                         const std::function<void()>&) {
    return Error{Errc::rejected, 0, 0, "backup is not there yet"};
}

Status verify_backup(FileSystem&, const std::string&, std::string*) {
    return Error{Errc::rejected, 0, 0, "backup is not there yet"};
}

}  // namespace ferry::log
