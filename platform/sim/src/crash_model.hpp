#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "ferry/platform/sim/crash_states.hpp"

namespace ferry::sim {

/// How a write reached the disk only in part, in sectors.
struct Tear {
    enum class Kept : std::uint8_t { head, tail, all_but };
    enum class Rest : std::uint8_t {
        absent,   // the file ends where the last surviving sector ends
        zeros,    // the file grew, the data did not arrive
        garbage,  // as zeros, but with noise
        stale,    // as zeros, but with what another file holds there
    };
    Kept kept = Kept::head;
    std::uint64_t sectors = 0;  // how many; all_but: the index of the one that is missing
    Rest rest = Rest::absent;   // only of what lies beyond the old end of the file
};

/// Something that a power cut at this point may or may not undo.
struct Pending {
    std::size_t operation = 0;  // index in the journal
    bool of_names = false;
    std::vector<Tear> tears;
};

/// One outcome: which of the pending operations survive, and which one of them is torn.
struct Outcome {
    std::vector<bool> survives;
    std::size_t torn = SIZE_MAX;  // index among the pending ones
    Tear tear = {};
};

/// Follows a journal and knows what of it is durable.
class CrashModel {
public:
    CrashModel(const Journal& journal, Profile profile, std::uint64_t seed);

    /// Requires  `point` is not less than last time.
    void advance(std::size_t point);
    [[nodiscard]] const std::vector<Pending>& pending() const { return pending_; }
    [[nodiscard]] DiskImage build(const Outcome& outcome) const;
    [[nodiscard]] const Journal& journal() const { return journal_; }

private:
    enum class Fate : std::uint8_t { pending, limbo, durable };
    static constexpr std::size_t not_pending = SIZE_MAX;

    struct DataOp {
        std::size_t operation = 0;
        Fate fate = Fate::pending;
        bool grows = false;
        std::size_t index = not_pending;  // among pending_
    };
    struct FileState {
        ContentRef base;         // the durable operations before the first undecided one, applied
        std::uint64_t size = 0;  // as the running system sees it
        std::vector<DataOp> operations;
        bool synced = false;  // durable operations may wait to be folded into the base
    };
    struct NameOp {
        std::size_t operation = 0;
        Fate fate = Fate::pending;
        bool source_synced = false;
        bool target_synced = false;
        std::size_t index = not_pending;
    };
    struct Names {
        std::map<std::string, InodeId> files;
        std::set<std::string> directories;
    };

    void apply(std::size_t index);
    void add_data(std::size_t index);
    void add_name(std::size_t index);
    void sync_data(const Operation& operation);
    void sync_names(const Operation& operation);
    void fold_data(FileState& file);
    void keep_everything();
    void keep_all_names();
    void fold_names();
    void collect();
    [[nodiscard]] std::vector<Tear> tears_of(const DataOp& data) const;
    [[nodiscard]] ContentRef content(InodeId inode, const Outcome& outcome) const;
    void write(std::vector<std::byte>& bytes, const Operation& operation, const Tear* tear) const;
    [[nodiscard]] std::byte filler(const Operation& operation, const Tear& tear,
                                   std::uint64_t at) const;
    static void apply_name(Names& names, const Operation& operation);

    const Journal& journal_;
    Profile profile_;
    std::uint64_t seed_;
    std::size_t point_ = 0;
    Names names_;
    std::deque<NameOp> name_ops_;
    std::map<InodeId, FileState> files_;
    std::vector<Pending> pending_;
    mutable std::unordered_map<std::string, ContentRef> contents_;  // of this point, by choice
};

}  // namespace ferry::sim
