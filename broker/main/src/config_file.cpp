#include "config_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

#include "ferry/engine/engine.hpp"
#include "ferry/toml.hpp"
#include "ferry/wire/limits.hpp"
#include "policy_table.hpp"

namespace ferry::config {
namespace {

constexpr std::size_t file_bytes_max = 1U << 20;

// A key of the file may hold anything; a sentence that quotes it stays one line.
std::string in_one_line(std::string sentence) {
    for (char& c : sentence) {
        if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
    }
    return sentence;
}

class Reader {
public:
    Reader(const std::string& path, Configuration& configuration, std::string& error_text)
        : path_(path), configuration_(configuration), error_text_(error_text) {}

    bool read(const toml::table& root) {
        for (const auto& [name, node] : root) {
            const std::string table(name.str());
            if (table == "policy") {
                if (!read_policies(name.source(), node)) return false;
                continue;
            }
            if (!is_table(table)) {
                return fail(name.source(), "unknown " + kind(node) + " \"" + table +
                                               "\"; the tables are " + tables());
            }
            const toml::table* inner = node.as_table();
            if (inner == nullptr) {
                return fail(name.source(), "\"" + table + "\" is a table: write [" + table + "]");
            }
            for (const auto& [key, value] : *inner) {
                if (!apply(table + "." + std::string(key.str()), key.source(), value)) return false;
            }
        }
        return true;
    }

private:
    static std::string kind(const toml::node& node) { return node.is_table() ? "table" : "key"; }

    static bool is_table(std::string_view name) {
        const auto all = settings();
        return std::any_of(all.begin(), all.end(), [&](const Setting& setting) {
            return setting.key.substr(0, setting.key.find('.')) == name;
        });
    }

    static std::string tables() {
        std::string text;
        std::string last;
        for (const Setting& setting : settings()) {
            const std::string table = setting.key.substr(0, setting.key.find('.'));
            if (table != last && text.find(table) == text.npos) {
                text += (text.empty() ? "" : ", ") + table;
            }
            last = table;
        }
        return text + ", and [[policy]]";
    }

    static std::string keys_of(std::string_view table) {
        std::string text;
        for (const Setting& setting : settings()) {
            if (setting.key.starts_with(std::string(table) + ".")) {
                text += (text.empty() ? "" : ", ") + setting.key;
            }
        }
        return text;
    }

    bool apply(const std::string& key, const toml::source_region& where, const toml::node& value) {
        const auto all = settings();
        const auto setting = std::find_if(all.begin(), all.end(),
                                          [&](const Setting& each) { return each.key == key; });
        if (setting == all.end()) {
            return fail(where, "unknown key " + key + "; there are " +
                                   keys_of(key.substr(0, key.find('.'))));
        }
        const auto raw = raw_value(value);
        if (raw && setting->apply(configuration_, *raw)) return true;
        return fail(where, key + " must be " + setting->expected);
    }

    bool read_policies(const toml::source_region& where, const toml::node& node) {
        const toml::array* list = node.as_array();
        if (list == nullptr) return fail(where, "policies are tables: write [[policy]]");
        for (const toml::node& each : *list) {
            const toml::table* table = each.as_table();
            if (table == nullptr) return fail(where, "policies are tables: write [[policy]]");
            engine::NamedPolicy policy;
            for (const auto& [key, value] : *table) {
                const std::string name(key.str());
                const auto raw = raw_value(value);
                const std::string expected =
                    raw ? set_policy_key(policy, name, *raw) : "a text or a number";
                if (!expected.empty())
                    return fail(key.source(), "policy." + name + " must be " + expected);
            }
            auto& all = configuration_.broker.policies;
            const bool twice = std::any_of(all.begin(), all.end(), [&](const auto& other) {
                return other.name == policy.name;
            });
            if (twice) return fail(each.source(), "there are two policies " + policy.name);
            if (all.size() >= limits::policies_max)
                return fail(each.source(), "there are at most 256 policies");
            const std::string wrong = engine::complaint_of(policy);
            if (!wrong.empty()) return fail(each.source(), "policy " + policy.name + ": " + wrong);
            all.push_back(std::move(policy));
        }
        return true;
    }

    static std::optional<RawValue> raw_value(const toml::node& value) {
        if (const auto* flag = value.as_boolean()) return RawValue(flag->get());
        if (const auto* number = value.as_integer()) return RawValue(number->get());
        if (const auto* text = value.as_string()) return RawValue(text->get());
        return std::nullopt;
    }

    bool fail(const toml::source_region& where, const std::string& sentence) {
        error_text_ =
            in_one_line(path_ + ", line " + std::to_string(where.begin.line) + ": " + sentence);
        return false;
    }

    const std::string& path_;
    Configuration& configuration_;
    std::string& error_text_;
};

}  // namespace

bool read_config_text(std::string_view text, const std::string& path, Configuration& configuration,
                      std::string& error_text) {
    try {
        const toml::table root = toml::parse(text, path);
        return Reader(path, configuration, error_text).read(root);
    } catch (const toml::parse_error& error) {  // the library's way; it ends here
        error_text = in_one_line(path + ", line " + std::to_string(error.source().begin.line) +
                                 ": this is not TOML: " + std::string(error.description()));
        return false;
    }
}

bool read_config_file(const std::string& path, Configuration& configuration,
                      std::string& error_text) {
    std::ifstream file(path, std::ios::binary);
    std::string text(file_bytes_max + 1, '\0');
    if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!file.is_open() || file.bad() || (file.fail() && !file.eof())) {
        error_text = "cannot read " + path + ": " + std::strerror(errno);
        return false;
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() > file_bytes_max) {
        error_text = path + " is larger than 1 MiB; that is no configuration";
        return false;
    }
    return read_config_text(text, path, configuration, error_text);
}

}  // namespace ferry::config
