#pragma once

#include "ferry/engine/engine.hpp"
#include "ferry/log/commit_log.hpp"
#include "ferry/server/server.hpp"

namespace ferry::server {

/// Opens the log in config.data_dir. Null: *error_text is one sentence.
std::unique_ptr<log::CommitLog> open_log(FileSystem& files, const BrokerConfig& config,
                                         std::string* error_text);

/// Loads the checkpoint and replays what follows. False: *error_text is one sentence.
bool recover(log::CommitLog& log, engine::Engine& engine, Now now, RecoverySummary& summary,
             std::string* error_text);

/// The sentence, or what there is to say, behind a failure of the log.
std::string describe(const Error& error);

}  // namespace ferry::server
