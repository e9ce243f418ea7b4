#include <algorithm>
#include <string>
#include <vector>

#include "commands/commands.hpp"
#include "completion.hpp"
#include "output.hpp"

namespace ferry::cli {

void add_completion(Command& app, Context& context) {
    Command* command = app.add_subcommand("completion", "Print a completion script for a shell");
    auto shell = std::make_shared<std::string>();
    command->add_option("shell", *shell, "bash, zsh or fish")
        ->required()
        ->one_of({"bash", "zsh", "fish"});
    command->footer(
        examples({"source <(ferry completion bash)", "ferry completion zsh > ~/.zfunc/_ferry",
                  "ferry completion fish > ~/.config/fish/completions/ferry.fish"}));
    command->callback([&app, &context, shell] {
        context.run = [&app, shell] {
            return write_out(completion_script(app, *shell)) ? exit_done : exit_refused;
        };
    });
}

}  // namespace ferry::cli
