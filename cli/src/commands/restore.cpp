#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <system_error>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "log_reader/manifest.hpp"
#include "output.hpp"
#include "progress.hpp"

// Restoring in an order that no crash can spoil: every file is checked against the MANIFEST while
// it is copied under a name that the broker ignores (*.tmp), synced, and only when all are there
// are they given their names. A restore that stops half-way leaves a directory without a log, never
// half a log.
namespace ferry::cli {
namespace {

struct Options {
    std::string backup;
    std::string target;
};

std::string errno_text(const std::string& doing) {
    return doing + ": " + std::strerror(errno);
}

/// A file being written; closed when it goes.
class Output {
public:
    explicit Output(const std::string& path)
        : descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) {}
    ~Output() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;

    [[nodiscard]] bool is_open() const { return descriptor_ >= 0; }
    bool write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const ssize_t wrote = ::write(descriptor_, bytes.data(), bytes.size());
            if (wrote < 0 && errno == EINTR) continue;
            if (wrote <= 0) return false;
            bytes = bytes.subspan(static_cast<std::size_t>(wrote));
        }
        return true;
    }
    bool sync() { return ::fsync(descriptor_) == 0; }

private:
    int descriptor_;
};

bool sync_directory(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return false;
    const bool done = ::fsync(descriptor) == 0;
    ::close(descriptor);
    return done;
}

// Empty: the target is a new or empty directory and exists now.
std::string prepare_target(const std::string& target) {
    std::error_code problem;
    if (std::filesystem::exists(target, problem)) {
        if (!std::filesystem::is_directory(target, problem)) return target + " is not a directory";
        const bool empty = std::filesystem::is_empty(target, problem);
        if (problem) return target + ": " + problem.message();
        return empty ? "" : target + " is not empty; restore into a new or empty directory";
    }
    if (::mkdir(target.c_str(), 0700) != 0) return errno_text("cannot make " + target);
    return {};
}

std::string copy_file(const Options& options, const log_reader::ManifestEntry& entry,
                      const std::function<void(std::size_t)>& on_bytes) {
    const std::string path = options.target + "/" + entry.name + ".tmp";
    Output out(path);
    if (!out.is_open()) return errno_text("cannot write " + path);
    std::string failed;
    const std::string wrong =
        log_reader::check_file(options.backup, entry, [&](std::span<const std::byte> bytes) {
            if (!out.write(bytes)) {
                failed = errno_text("cannot write " + path);
                return false;
            }
            on_bytes(bytes.size());
            return true;
        });
    if (!failed.empty()) return failed;
    if (!wrong.empty()) return entry.name + ": " + wrong;
    return out.sync() ? std::string{} : errno_text("cannot sync " + path);
}

std::string copy_all(const Options& options, const log_reader::Manifest& manifest) {
    Progress progress("restored", manifest.total_bytes(), true);
    std::uint64_t copied = 0;
    for (const log_reader::ManifestEntry& entry : manifest.files) {
        std::string wrong =
            copy_file(options, entry, [&](std::size_t bytes) { progress.at(copied += bytes); });
        if (!wrong.empty()) return wrong;
    }
    return {};
}

std::string name_all(const Options& options, const log_reader::Manifest& manifest) {
    for (const log_reader::ManifestEntry& entry : manifest.files) {
        const std::string path = options.target + "/" + entry.name;
        if (::rename((path + ".tmp").c_str(), path.c_str()) != 0) {
            return errno_text("cannot rename " + path + ".tmp");
        }
    }
    if (!sync_directory(options.target)) return errno_text("cannot sync " + options.target);
    const auto parent = std::filesystem::absolute(options.target).lexically_normal().parent_path();
    // The directory itself may be new; its entry lies in the parent. Some file systems refuse this.
    if (!sync_directory(parent.string()) && errno != EACCES && errno != EINVAL) {
        return errno_text("cannot sync " + parent.string());
    }
    return {};
}

// What was copied is of no use to anybody when something is wrong.
void remove_copies(const Options& options, const log_reader::Manifest& manifest) {
    for (const log_reader::ManifestEntry& entry : manifest.files) {
        const std::string path = options.target + "/" + entry.name;
        ::unlink((path + ".tmp").c_str());
        ::unlink(path.c_str());
    }
}

int run_restore(const Context& context, const Options& options) {
    log_reader::Manifest manifest;
    std::string why;
    if (!log_reader::read_manifest(options.backup, manifest, why)) return fail(exit_refused, why);
    why = prepare_target(options.target);
    if (!why.empty()) return fail(exit_refused, why);
    why = copy_all(options, manifest);
    if (why.empty()) why = name_all(options, manifest);
    if (!why.empty()) {
        remove_copies(options, manifest);
        return fail(exit_refused, why + "; nothing was restored");
    }
    if (context.json) {
        print_json({{"directory", options.target},
                    {"upto", manifest.upto},
                    {"files", manifest.files.size()},
                    {"bytes", manifest.total_bytes()}});
    } else {
        std::printf("%s: %zu files, %s, up to position %llu; start ferryd with --data %s\n",
                    options.target.c_str(), manifest.files.size(),
                    human_bytes(manifest.total_bytes()).c_str(),
                    static_cast<unsigned long long>(manifest.upto), options.target.c_str());
    }
    return exit_done;
}

}  // namespace

void add_restore(Command& app, Context& context) {
    Command* command =
        app.add_subcommand("restore", "Make a data directory from a backup, checking every byte");
    auto options = std::make_shared<Options>();
    command->add_option("backup", options->backup, "The backup")->required();
    command->add_option("data", options->target, "New or empty directory")->required();
    command->footer(examples({"ferry restore /backup/monday ./data"}));
    command->callback([&context, options] {
        context.run = [&context, options] { return run_restore(context, *options); };
    });
}

}  // namespace ferry::cli
