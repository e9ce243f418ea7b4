#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "log_reader/manifest.hpp"
#include "options.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string directory;
    std::string timeout = "1h";
};

int run_backup(const Context& context, const Options& options) {
    std::error_code problem;
    const std::string target = std::filesystem::absolute(options.directory, problem).string();
    if (problem) return fail(exit_usage, options.directory + ": " + problem.message());
    auto client = connect(context);
    if (!client.ok()) return fail(client.error());
    const auto done = client.value()->backup(target, *parse_duration(options.timeout));
    if (!done.ok()) return fail(done.error());
    if (context.json) {
        print_json({{"directory", target},
                    {"upto", done.value().upto},
                    {"bytes", done.value().bytes},
                    {"files", done.value().files}});
    } else {
        std::printf("%s: %s files, %s, everything up to position %llu\n", target.c_str(),
                    with_commas(done.value().files).c_str(),
                    human_bytes(done.value().bytes).c_str(),
                    static_cast<unsigned long long>(done.value().upto));
    }
    return exit_done;
}

int verify(const Context& context, const Options& options) {
    log_reader::Manifest manifest;
    std::string why;
    if (!log_reader::read_manifest(options.directory, manifest, why))
        return fail(exit_refused, why);
    Progress progress("checked", manifest.total_bytes(), true);
    std::uint64_t checked = 0;
    std::uint64_t bad = 0;
    for (const log_reader::ManifestEntry& entry : manifest.files) {
        const std::string wrong =
            log_reader::check_file(options.directory, entry, [&](std::span<const std::byte> bytes) {
                progress.at(checked += bytes.size());
                return true;
            });
        if (wrong.empty()) continue;
        ++bad;
        progress.finish();
        std::fprintf(stderr, "ferry: %s: %s\n", entry.name.c_str(), wrong.c_str());
    }
    progress.finish();
    if (context.json) {
        print_json({{"directory", options.directory},
                    {"ok", bad == 0},
                    {"log_id", hex16(manifest.log_id)},
                    {"upto", manifest.upto},
                    {"files", manifest.files.size()},
                    {"bytes", manifest.total_bytes()},
                    {"bad_files", bad}});
    } else if (bad == 0) {
        std::printf("%s: %zu files, %s, all as the MANIFEST says\n", options.directory.c_str(),
                    manifest.files.size(), human_bytes(manifest.total_bytes()).c_str());
    }
    return bad == 0 ? exit_done
                    : fail(exit_refused, std::to_string(bad) + " files of the backup are damaged");
}

}  // namespace

void add_backup(Command& app, Context& context) {
    Command* backup =
        app.add_subcommand("backup", "Copy the broker's data while it works, or check such a copy");
    auto options = std::make_shared<Options>();
    backup->add_option("target", options->directory,
                       "New or empty directory on the broker's machine; the broker writes it");
    add_duration(*backup, "--timeout", options->timeout, "How long it may take (default 1h)");
    backup->footer(examples({"ferry backup /backup/monday", "ferry backup verify /backup/monday",
                             "ferry restore /backup/monday ./data"}));

    auto check_options = std::make_shared<Options>();
    Command* check = backup->add_subcommand("verify", "Compare every file with the MANIFEST");
    check->add_option("directory", check_options->directory, "The backup")->required();
    check->footer(examples({"ferry backup verify /backup/monday"}));

    backup->callback([&context, options, check_options, check] {
        context.run = [&context, options, check_options, check] {
            if (check->parsed()) return verify(context, *check_options);
            if (options->directory.empty())
                return fail(exit_usage, "name the directory to back up to");
            return run_backup(context, *options);
        };
    });
}

}  // namespace ferry::cli
