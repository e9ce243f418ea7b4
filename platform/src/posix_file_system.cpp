// The operating system's files.
//
// Every call is repeated on EINTR except close(), after which Linux has given the descriptor away,
// and fsync/fdatasync, whose second success would prove nothing after a first failure (EINTR counts
// as one).

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>

#include "ferry/platform/file.hpp"
#include "posix_error.hpp"

namespace ferry {
namespace {

using detail::posix_error;

constexpr mode_t file_mode = 0600;
constexpr mode_t directory_mode = 0700;

template <class Call>
auto retry_on_eintr(const Call& call) {
    auto result = call();
    while (result < 0 && errno == EINTR) result = call();
    return result;
}

class Descriptor {
public:
    explicit Descriptor(int fd) noexcept : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&&) = delete;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] bool ok() const noexcept { return fd_ >= 0; }

private:
    int fd_;
};

Descriptor open_descriptor(const std::string& path, int flags) {
    return Descriptor(
        retry_on_eintr([&] { return ::open(path.c_str(), flags | O_CLOEXEC, file_mode); }));
}

// off_t is signed: a larger offset would reach the kernel as a negative number.
bool fits_off_t(std::uint64_t offset, std::uint64_t size) {
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
    return offset <= most && size <= most - offset;
}

Status write_all(int fd, std::uint64_t offset, Bytes data) {
    if (!fits_off_t(offset, data.size())) return posix_error(EFBIG, "write beyond off_t", offset);
    while (!data.empty()) {
        const ssize_t written = retry_on_eintr(
            [&] { return ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset)); });
        if (written < 0) return posix_error(errno, "write", offset);
        if (written == 0) return posix_error(EIO, "write made no progress", offset);
        data = data.subspan(static_cast<std::size_t>(written));
        offset += static_cast<std::uint64_t>(written);
    }
    return ok_status();
}

class PosixFile final : public File {
public:
    explicit PosixFile(Descriptor fd) noexcept : fd_(std::move(fd)) {}

    Status write_at(std::uint64_t offset, Bytes data) override {
        return write_all(fd_.get(), offset, data);
    }

    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const override {
        if (!fits_off_t(offset, out.size())) return posix_error(EIO, "read beyond off_t", offset);
        std::size_t done = 0;
        while (done < out.size()) {
            const ssize_t got = retry_on_eintr([&] {
                return ::pread(fd_.get(), out.data() + done, out.size() - done,
                               static_cast<off_t>(offset + done));
            });
            if (got < 0) return posix_error(errno, "read", offset + done);
            if (got == 0) break;
            done += static_cast<std::size_t>(got);
        }
        return done;
    }

    // Part of it, or any error: read_at() has to tell what it is.
    Result<std::size_t> read_cached_at(std::uint64_t offset, MutableBytes out) const override {
        const iovec part{out.data(), out.size()};
        if (fits_off_t(offset, out.size()) &&
            ::preadv2(fd_.get(), &part, 1, static_cast<off_t>(offset), RWF_NOWAIT) ==
                static_cast<ssize_t>(out.size()))
            return out.size();
        return File::read_cached_at(offset, out);
    }

    Status sync_data() override {
        if (::fdatasync(fd_.get()) != 0) return sync_error("fdatasync");
        return ok_status();
    }

    Status truncate(std::uint64_t size) override {
        if (!fits_off_t(size, 0)) return posix_error(EFBIG, "truncate beyond off_t", size);
        const int result =
            retry_on_eintr([&] { return ::ftruncate(fd_.get(), static_cast<off_t>(size)); });
        if (result != 0) return posix_error(errno, "truncate", size);
        return ok_status();
    }

    [[nodiscard]] Result<std::uint64_t> size() const override {
        struct stat info {};
        if (::fstat(fd_.get(), &info) != 0) return posix_error(errno, "fstat");
        return static_cast<std::uint64_t>(info.st_size);
    }

    // A failed sync is always io_failed, even with ENOSPC (delayed allocation): "free space and
    // retry" would be a lie, because nobody knows what reached the disk.
    static Error sync_error(std::string_view what) {
        return Error{Errc::io_failed, errno, 0, what};
    }

private:
    Descriptor fd_;
};

class PosixLock final : public FileLock {
public:
    explicit PosixLock(Descriptor fd) noexcept : fd_(std::move(fd)) {}

private:
    Descriptor fd_;  // closing it releases the flock
};

int open_flags(FileSystem::Open mode) {
    switch (mode) {
        case FileSystem::Open::read:
            return O_RDONLY;
        case FileSystem::Open::write:
            return O_RDWR;
        case FileSystem::Open::create:
            return O_RDWR | O_CREAT;
        case FileSystem::Open::create_exclusive:
            return O_RDWR | O_CREAT | O_EXCL;
    }
    FERRY_ASSERT(false, "every mode has its flags");
    return O_RDONLY;  // not reached; g++ with -fsanitize=thread does not see that
}

class PosixFileSystem final : public FileSystem {
public:
    Result<std::unique_ptr<File>> open(const std::string& path, Open mode) override {
        Descriptor fd = open_descriptor(path, open_flags(mode));
        if (!fd.ok()) return posix_error(errno, "open");
        return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(fd)));
    }

    Status rename(const std::string& from, const std::string& to) override {
        if (std::rename(from.c_str(), to.c_str()) != 0) return posix_error(errno, "rename");
        return ok_status();
    }

    Status remove(const std::string& path) override {
        if (::unlink(path.c_str()) != 0) return posix_error(errno, "unlink");
        return ok_status();
    }

    Status sync_directory(const std::string& directory) override {
        const Descriptor fd = open_descriptor(directory, O_RDONLY | O_DIRECTORY);
        if (!fd.ok()) return posix_error(errno, "open directory");
        if (::fsync(fd.get()) != 0) return PosixFile::sync_error("fsync directory");
        return ok_status();
    }

    Status make_directory(const std::string& directory) override {
        if (::mkdir(directory.c_str(), directory_mode) == 0) return ok_status();
        const int failure = errno;
        struct stat info {};
        const bool is_there = failure == EEXIST && ::stat(directory.c_str(), &info) == 0;
        if (is_there && S_ISDIR(info.st_mode)) return ok_status();
        return posix_error(failure, "mkdir");
    }

    Result<std::vector<std::string>> list(const std::string& directory) override {
        const std::unique_ptr<DIR, CloseDirectory> stream(::opendir(directory.c_str()));
        if (stream == nullptr) return posix_error(errno, "opendir");
        std::vector<std::string> names;
        for (;;) {
            errno = 0;
            const dirent* entry = ::readdir(stream.get());
            if (entry == nullptr) break;
            std::string name = entry->d_name;
            if (name != "." && name != "..") names.push_back(std::move(name));
        }
        if (errno != 0) return posix_error(errno, "readdir");
        std::sort(names.begin(), names.end());
        return names;
    }

    [[nodiscard]] Result<DiskSpace> space(const std::string& directory) override {
        struct statvfs info {};
        if (retry_on_eintr([&] { return ::statvfs(directory.c_str(), &info); }) != 0) {
            return posix_error(errno, "statvfs");
        }
        // bavail, not bfree: the blocks kept back for root are not ours.
        return DiskSpace{info.f_blocks * info.f_frsize, info.f_bavail * info.f_frsize};
    }

    Result<std::unique_ptr<FileLock>> lock(const std::string& path,
                                           std::string_view note) override {
        Descriptor fd = open_descriptor(path, O_RDWR | O_CREAT);
        if (!fd.ok()) return posix_error(errno, "open lock file");
        if (retry_on_eintr([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
            if (errno == EWOULDBLOCK) {
                return Error{Errc::conflict, errno, 0, "locked by another process"};
            }
            return posix_error(errno, "flock");
        }
        // The note is for people. The flock is what counts, so a full disk must not stop a start.
        if (::ftruncate(fd.get(), 0) == 0) {
            write_all(fd.get(), 0, as_bytes(note)).ignore("the note only helps people");
        }
        return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(std::move(fd)));
    }

private:
    struct CloseDirectory {
        void operator()(DIR* stream) const noexcept { ::closedir(stream); }
    };
};

}  // namespace

std::unique_ptr<FileSystem> make_posix_file_system() {
    return std::make_unique<PosixFileSystem>();
}

}  // namespace ferry
