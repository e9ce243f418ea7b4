#include "ferry/platform/file.hpp"

namespace ferry {

Result<std::vector<std::byte>> read_file(FileSystem& files, const std::string& path,
                                         std::uint64_t bytes_max) {
    auto opened = files.open(path, FileSystem::Open::read);
    if (!opened.ok()) return opened.error();
    const File& file = *opened.value();
    const auto size = file.size();
    if (!size.ok()) return size.error();
    if (size.value() > bytes_max) {
        return Error{Errc::rejected, 0, size.value(), "file is larger than allowed"};
    }
    std::vector<std::byte> bytes(size.value());
    const auto got = file.read_at(0, bytes);
    if (!got.ok()) return got.error();
    bytes.resize(got.value());  // it may have shrunk in between
    return bytes;
}

}  // namespace ferry
