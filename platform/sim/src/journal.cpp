#include "ferry/platform/sim/journal.hpp"

namespace ferry::sim {

std::string describe(const Operation& operation) {
    const std::string file = operation.path + " (inode " + std::to_string(operation.inode) + ")";
    const char* failed = operation.failed ? " FAILED" : "";
    switch (operation.kind) {
        case Operation::Kind::create:
            return "create " + file;
        case Operation::Kind::write:
            return "write " + file + " at " + std::to_string(operation.offset) + " bytes " +
                   std::to_string(operation.bytes->size());
        case Operation::Kind::truncate:
            return "truncate " + file + " to " + std::to_string(operation.offset);
        case Operation::Kind::sync_data:
            return "sync_data " + file + failed;
        case Operation::Kind::rename:
            return "rename " + file + " to " + operation.target;
        case Operation::Kind::remove:
            return "remove " + file;
        case Operation::Kind::make_directory:
            return "make_directory " + operation.path;
        case Operation::Kind::sync_directory:
            return "sync_directory " + operation.path + failed;
    }
    return "unknown operation";
}

}  // namespace ferry::sim
