#pragma once

#include "ferry/engine/engine.hpp"
#include "ferry/log/commit_log.hpp"

namespace ferry::server {

/// The engine's records go to the commit log.
class LogJournal final : public engine::Journal {
public:
    explicit LogJournal(log::CommitLog& log) : log_(log) {}
    Place append(std::span<const Bytes> parts) override {
        const log::Place place = log_.append(parts);
        return Place{place.position, place.segment};
    }

private:
    log::CommitLog& log_;
};

}  // namespace ferry::server
