// The users file of a broker. Works on the file, not on a running broker, which reads it again when
// it changes: so there is a first user before there is a broker, and no command has a password in
// its arguments, where every process on the machine could read it.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "ferry/platform/file.hpp"
#include "ferry/secure/users.hpp"
#include "output.hpp"
#include "password.hpp"

namespace ferry::cli {
namespace {

struct Options {
    std::string file;
    std::string name;
    std::string password_file;
    bool no_password = false;
    std::vector<std::string> configure;
    std::vector<std::string> write;
    std::vector<std::string> read;
    bool admin = false;
    std::uint32_t connections = 0;
    std::uint64_t publish_rate = 0;
};

using Change = std::function<int(secure::Users&)>;

/// Loads, changes and saves, with nobody else in between. `change` gives the exit status; the file
/// is written if that is exit_done.
int change_file(const Options& options, bool may_be_new, const Change& change) {
    const auto files = make_posix_file_system();
    const auto lock = files->lock(options.file + ".lock", "ferry user");
    if (!lock.ok()) return fail(lock.error(), options.file + ".lock");
    secure::Users users;
    const bool is_new = secure::file_stamp(options.file).empty();
    if (is_new && !may_be_new) return fail(exit_refused, "there is no users file " + options.file);
    if (!is_new) {
        auto loaded = secure::load_users(options.file);
        if (!loaded.ok()) return fail(exit_refused, loaded.error());
        users = std::move(loaded).value();
    }
    if (const int status = change(users); status != exit_done) return status;
    if (const std::string wrong = secure::save_users(options.file, users); !wrong.empty())
        return fail(exit_refused, wrong);
    return exit_done;
}

int with_user(const Options& options, const std::function<int(secure::User&)>& change) {
    return change_file(options, false, [&](secure::Users& users) {
        const auto at = users.find(options.name);
        if (at == users.end()) return fail(exit_refused, "there is no user " + options.name);
        return change(at->second);
    });
}

int set_password(const Options& options, secure::User& user) {
    std::string wrong;
    std::optional<std::string> password =
        options.password_file.empty()
            ? ask_new_password("Password of " + options.name + ": ", wrong)
            : secure::read_secret_file(options.password_file, wrong);
    if (!password) return fail(exit_usage, wrong);
    user.verifier = secure::ScramVerifier::of(*password);
    user.has_password = true;
    secure::wipe(*password);
    return exit_done;
}

int add_to(std::vector<std::string>& patterns, const std::vector<std::string>& more) {
    for (const std::string& pattern : more) {
        if (!secure::valid_pattern(pattern)) {
            return fail(exit_usage, "'" + pattern +
                                        "' is no pattern: names have a-z A-Z 0-9 . _ - "
                                        "and * for any run of them, ? for one");
        }
        if (std::find(patterns.begin(), patterns.end(), pattern) == patterns.end())
            patterns.push_back(pattern);
    }
    if (patterns.size() <= secure::patterns_max) return exit_done;
    return fail(exit_usage, "a user has at most 64 patterns of a kind");
}

int permit(const Options& options, secure::User& user) {
    for (const auto& [patterns, more] :
         {std::pair(&user.configure, &options.configure), std::pair(&user.write, &options.write),
          std::pair(&user.read, &options.read)}) {
        if (const int status = add_to(*patterns, *more); status != exit_done) return status;
    }
    user.admin = user.admin || options.admin;
    if (options.connections != 0) user.connections_max = options.connections;
    if (options.publish_rate != 0) user.publish_rate = options.publish_rate;
    return exit_done;
}

int forbid(const Options& options, secure::User& user) {
    std::size_t gone = 0;
    for (const auto& [patterns, less] :
         {std::pair(&user.configure, &options.configure), std::pair(&user.write, &options.write),
          std::pair(&user.read, &options.read)}) {
        gone += std::erase_if(*patterns, [&less = *less](const std::string& pattern) {
            return std::find(less.begin(), less.end(), pattern) != less.end();
        });
    }
    if (options.admin && user.admin) ++gone;
    if (options.admin) user.admin = false;
    if (gone != 0) return exit_done;
    return fail(exit_refused,
                options.name + " has none of these; name patterns as ferry user list shows them");
}

int add(const Options& options) {
    if (!secure::valid_user_name(options.name))
        return fail(exit_usage, "a user's name has 1 to 128 of a-z A-Z 0-9 . _ - @");
    return change_file(options, true, [&](secure::Users& users) {
        const auto [at, fresh] = users.try_emplace(options.name);
        if (!fresh) return fail(exit_refused, "user " + options.name + " exists already");
        at->second.has_password = false;
        if (const int status = permit(options, at->second); status != exit_done) return status;
        return options.no_password ? exit_done : set_password(options, at->second);
    });
}

int remove(const Options& options) {
    return change_file(options, false, [&](secure::Users& users) {
        if (users.erase(options.name) != 0) return static_cast<int>(exit_done);
        return fail(exit_refused, "there is no user " + options.name);
    });
}

std::string joined(const std::vector<std::string>& patterns) {
    std::string text;
    for (const std::string& pattern : patterns) text += (text.empty() ? "" : " ") + pattern;
    return text;
}

int list(const Context& context, const Options& options) {
    const auto users = secure::load_users(options.file);
    if (!users.ok()) return fail(exit_refused, users.error());
    std::vector<std::vector<std::string>> rows{
        {"name", "password", "admin", "configure", "write", "read", ">connections"}};
    for (const auto& [name, user] : users.value()) {
        if (context.json) {
            print_json({{"name", name},
                        {"password", user.has_password},
                        {"admin", user.admin},
                        {"configure", user.configure},
                        {"write", user.write},
                        {"read", user.read},
                        {"connections", user.connections_max},
                        {"publish_rate", user.publish_rate}});
        }
        rows.push_back({name, user.has_password ? "yes" : "no", user.admin ? "yes" : "no",
                        joined(user.configure), joined(user.write), joined(user.read),
                        user.connections_max == 0 ? "any" : std::to_string(user.connections_max)});
    }
    if (!context.json) print_table(rows);
    return exit_done;
}

struct Room {
    Command& user;
    Context& context;

    std::pair<Command*, std::shared_ptr<Options>> command(const char* name, const char* about,
                                                          const char* example, bool named = true) {
        auto options = std::make_shared<Options>();
        Command* made = user.add_subcommand(name, about);
        made->add_option("--users", options->file, "The users file (auth.users of ferryd)")
            ->envname("FERRY_USERS_FILE")
            ->required();
        if (named) made->add_option("name", options->name, "The user's name")->required();
        made->footer(examples({example}));
        return {made, options};
    }
    void runs(Command* made, std::function<int()> run) {
        made->callback([&context = context, run = std::move(run)] {
            context.connects = false;
            context.run = run;
        });
    }
};

void add_rights(Command& command, Options& options) {
    command.add_option("--configure", options.configure, "Make and delete what is called so")
        ->allow_extra_args(false);
    command.add_option("--write", options.write, "Publish to what is called so")
        ->allow_extra_args(false);
    command.add_option("--read", options.read, "Consume from what is called so")
        ->allow_extra_args(false);
    command.add_flag("--admin", options.admin, "Everything");
}

void add_limits(Command& command, Options& options) {
    command.add_option("--connections", options.connections, "At most so many at a time");
    command.add_option("--publish-rate", options.publish_rate, "At most so many messages a second");
}

}  // namespace

void add_user(Command& app, Context& context) {
    Command* user = app.add_subcommand("user", "Who may come in, and what they may do");
    user->require_subcommand(1);
    Room room{*user, context};
    {
        auto [made, options] =
            room.command("add", "Add a user; the password is asked for, or the first line of stdin",
                         "ferry user add alice --users users --write 'orders.*' "
                         "--new-password-file alice.secret");
        add_rights(*made, *options);
        add_limits(*made, *options);
        made->add_option("--new-password-file", options->password_file,
                         "First line of this file: the new password");
        made->add_flag("--no-password", options->no_password, "Only a certificate lets it in");
        room.runs(made, [o = options] { return add(*o); });
    }
    {
        auto [made, options] = room.command("passwd", "Give a user another password",
                                            "ferry user passwd alice --users users");
        made->add_option("--new-password-file", options->password_file,
                         "First line of this file: the new password");
        room.runs(made, [o = options] {
            return with_user(*o, [&](secure::User& one) { return set_password(*o, one); });
        });
    }
    {
        auto [made, options] = room.command("permit", "Give a user rights, or other limits",
                                            "ferry user permit alice --users users --read orders");
        add_rights(*made, *options);
        add_limits(*made, *options);
        room.runs(made, [o = options] {
            return with_user(*o, [&](secure::User& one) { return permit(*o, one); });
        });
    }
    {
        auto [made, options] = room.command("forbid", "Take patterns of rights from a user",
                                            "ferry user forbid alice --users users --read orders");
        add_rights(*made, *options);
        room.runs(made, [o = options] {
            return with_user(*o, [&](secure::User& one) { return forbid(*o, one); });
        });
    }
    {
        auto [made, options] =
            room.command("remove", "Remove a user", "ferry user remove alice --users users");
        room.runs(made, [o = options] { return remove(*o); });
    }
    {
        auto [made, options] = room.command("list", "All users and their rights",
                                            "ferry user list --users users", false);
        room.runs(made, [&context, o = options] { return list(context, *o); });
    }
}

}  // namespace ferry::cli
