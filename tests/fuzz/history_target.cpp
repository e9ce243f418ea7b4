// Histories of anybody: read, judged, shown.

#include <sstream>
#include <string>

#include "ferry/history/checker.hpp"
#include "ferry/history/history_file.hpp"
#include "input.hpp"
#include "targets.hpp"

namespace ferry::fuzz {

void history_file(Bytes bytes) {
    std::istringstream in{std::string(as_text(bytes))};
    history::History read;
    history::Rules rules;
    const auto got = history::read(in, "h.jsonl", read, rules);
    if (!got.ok()) require(got.error().text.find('\n') == std::string::npos);
    // What was read is written as it reads again.
    std::string text = line_of(rules);
    for (const history::Event& event : read) text += line_of(event);
    std::istringstream again{text};
    history::History same;
    history::Rules same_rules;
    // Rules of many queues are longer than a line may be.
    if (line_of(rules).size() <= history::line_bytes_max) {
        require(history::read(again, "again", same, same_rules).ok());
        require(same == read && line_of(same_rules) == line_of(rules));
    }
    // Any history can be judged, also one that no run could make.
    const history::Report report = check(read, rules);
    require(!text_of(report, read).empty());
    require(report.events == read.size());
    require(!losses_csv(read, rules).empty());
}

}  // namespace ferry::fuzz
