#include "options.hpp"

#include "command.hpp"

namespace ferry::cli {

Flag* add_duration(Command& command, const std::string& names, std::string& target,
                   const std::string& about) {
    const auto check = [](const std::string& text) {
        const auto value = parse_duration(text);
        constexpr auto longest = std::chrono::hours(24 * 7);
        if (value && *value <= longest) return std::string{};
        return "'" + text + "' is not a duration of at most a week, such as 500ms, 5s, 2m or 1h";
    };
    return command.add_option(names, target, about)->check(check, "DURATION")->type_name("");
}

Flag* add_long_duration(Command& command, const std::string& names, std::string& target,
                        const std::string& about) {
    const auto check = [](const std::string& text) {
        const auto value = parse_duration(text);
        constexpr auto longest = std::chrono::hours(24LL * 365 * 100);
        if (value && *value <= longest) return std::string{};
        return "'" + text + "' is not a duration of at most 100 years, such as 500ms, 5s, 36h";
    };
    return command.add_option(names, target, about)->check(check, "DURATION")->type_name("");
}

Flag* add_size(Command& command, const std::string& names, std::string& target,
               const std::string& about) {
    const auto check = [](const std::string& text) {
        if (parse_size(text)) return std::string{};
        return "'" + text + "' is not a size, such as 100, 4KiB or 1MiB";
    };
    return command.add_option(names, target, about)->check(check, "SIZE")->type_name("");
}

}  // namespace ferry::cli
