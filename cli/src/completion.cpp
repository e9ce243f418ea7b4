#include "completion.hpp"

#include <vector>

#include <CLI/CLI.hpp>

namespace ferry::cli {
namespace {

struct Word {
    std::string text;
    std::string about;  // first sentence of its description
};

/// What may follow one command path, such as "queue declare".
struct Row {
    std::string path;
    std::vector<Word> commands;
    std::vector<Word> options;
};

std::string quoted_safely(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '\n') break;
        if (c != '\'' && c != '[' && c != ']' && c != ':' && c != '\\') out += c;
    }
    return out;
}

void collect(const CLI::App& app, const std::string& path, const std::vector<Word>& inherited,
             std::vector<Row>& rows) {
    Row row{path, {}, inherited};
    for (const CLI::Option* option : app.get_options()) {
        for (const std::string& name : option->get_lnames()) {
            const bool inherited_help = name == "help" && !path.empty();
            if (inherited_help || name == "help-all") continue;
            row.options.push_back({"--" + name, quoted_safely(option->get_description())});
        }
    }
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        row.commands.push_back({command->get_name(), quoted_safely(command->get_description())});
    }
    rows.push_back(row);
    // Global options may stand behind every command.
    const std::vector<Word> passed_on = path.empty() ? row.options : inherited;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        const std::string below =
            path.empty() ? command->get_name() : path + " " + command->get_name();
        collect(*command, below, passed_on, rows);
    }
}

std::string joined(const std::vector<Word>& words) {
    std::string out;
    for (const Word& word : words) out += (out.empty() ? "" : " ") + word.text;
    return out;
}

// The path is what is left of the line without options; the longest known beginning of it counts.
std::string bash_cases(const std::vector<Row>& rows) {
    std::string out;
    for (const Row& row : rows) {
        out += "        '" + row.path + "') commands='" + joined(row.commands) + "' options='" +
               joined(row.options) + "' ;;\n";
    }
    return out;
}

std::string bash_script(const std::vector<Row>& rows) {
    return "# bash completion for ferry\n"
           "_ferry_words() {\n"
           "    case \"$1\" in\n" +
           bash_cases(rows) +
           "        *) return 1 ;;\n"
           "    esac\n"
           "}\n"
           "_ferry() {\n"
           "    local current=\"${COMP_WORDS[COMP_CWORD]}\" path='' next word commands='' "
           "options=''\n"
           "    _ferry_words ''\n"
           "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
           "        [[ $word == -* ]] && continue\n"
           "        next=\"${path:+$path }$word\"\n"
           "        _ferry_words \"$next\" && path=\"$next\"\n"
           "    done\n"
           "    if [[ $current == -* ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n"
           "    elif [[ -n $commands ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$commands\" -- \"$current\"))\n"
           "    else\n"
           "        COMPREPLY=($(compgen -f -- \"$current\"))\n"
           "    fi\n"
           "}\n"
           "complete -F _ferry ferry\n";
}

std::string zsh_words(const std::vector<Word>& words) {
    std::string out;
    for (const Word& word : words) out += " '" + word.text + ":" + word.about + "'";
    return out;
}

std::string zsh_script(const std::vector<Row>& rows) {
    std::string cases;
    for (const Row& row : rows) {
        cases += "        '" + row.path + "') commands=(" + zsh_words(row.commands) +
                 " ) options=(" + zsh_words(row.options) + " ) ;;\n";
    }
    return "#compdef ferry\n"
           "_ferry_words() {\n"
           "    case \"$1\" in\n" +
           cases +
           "        *) return 1 ;;\n"
           "    esac\n"
           "}\n"
           "_ferry() {\n"
           "    local path_words='' next word\n"
           "    local -a commands options\n"
           "    _ferry_words ''\n"
           "    for word in ${words[2,CURRENT-1]}; do\n"
           "        [[ $word == -* ]] && continue\n"
           "        next=\"${path_words:+$path_words }$word\"\n"
           "        _ferry_words \"$next\" && path_words=\"$next\"\n"
           "    done\n"
           "    if [[ ${words[CURRENT]} == -* ]]; then\n"
           "        _describe option options\n"
           "    elif (( ${#commands} )); then\n"
           "        _describe command commands\n"
           "    else\n"
           "        _files\n"
           "    fi\n"
           "}\n"
           "compdef _ferry ferry\n";
}

std::string fish_script(const std::vector<Row>& rows) {
    std::string out =
        "# fish completion for ferry\n"
        "function __ferry_at\n"
        "    set -l words\n"
        "    for word in (commandline -opc)[2..-1]\n"
        "        string match -q -- '-*' $word; or set -a words $word\n"
        "    end\n"
        "    set -l want (string split -n ' ' -- \"$argv[1]\")\n"
        "    test (count $words) -ge (count $want); or return 1\n"
        "    test (count $want) -eq 0; and test (count $words) -gt 0; and return 1\n"
        "    test (count $want) -eq 0; or test \"$words[1..(count $want)]\" = \"$want\"\n"
        "end\n";
    for (const Row& row : rows) {
        const std::string when = "complete -c ferry -n '__ferry_at \"" + row.path + "\"' ";
        for (const Word& word : row.commands) {
            out += when + "-f -a '" + word.text + "' -d '" + word.about + "'\n";
        }
        for (const Word& word : row.options) {
            out += when + "-l '" + word.text.substr(2) + "' -d '" + word.about + "'\n";
        }
    }
    return out;
}

}  // namespace

std::string completion_script(const Command& program, std::string_view shell) {
    std::vector<Row> rows;
    collect(program.app(), "", {}, rows);
    if (shell == "bash") return bash_script(rows);
    if (shell == "zsh") return zsh_script(rows);
    return fish_script(rows);
}

}  // namespace ferry::cli
