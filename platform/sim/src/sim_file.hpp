#pragma once

#include "sim_core.hpp"

namespace ferry::sim {

class SimFileSystem::SimFile final : public File {
public:
    SimFile(std::shared_ptr<Core> core, InodeRef inode, bool writable)
        : core_(std::move(core)), inode_(std::move(inode)), writable_(writable) {}

    Status write_at(std::uint64_t offset, Bytes data) override;
    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const override;
    Status sync_data() override;
    Status truncate(std::uint64_t size) override;
    [[nodiscard]] Result<std::uint64_t> size() const override;

private:
    void store(std::uint64_t offset, Bytes data);
    [[nodiscard]] std::string path() const;

    std::shared_ptr<Core> core_;
    InodeRef inode_;
    bool writable_;
};

}  // namespace ferry::sim
