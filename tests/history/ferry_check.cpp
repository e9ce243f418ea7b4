// Checks one history from several files: ferry_check [--csv FILE] FILE...
// Exit status: 0 all is as it must be, 1 there are findings, 2 a file cannot be read.

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "ferry/history/checker.hpp"
#include "ferry/history/history_file.hpp"

namespace {

int wrong_usage(const std::string& why) {
    std::fprintf(stderr, "ferry_check: %s\n", why.c_str());
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    using namespace ferry::history;
    std::vector<History> parts;
    Rules rules;
    std::string csv;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--csv" && i + 1 < argc) {
            csv = argv[++i];
            continue;
        }
        std::ifstream in(name, std::ios::binary);
        if (!in) return wrong_usage("cannot read " + name);
        const auto got = read(in, name, parts.emplace_back(), rules);
        if (!got.ok()) return wrong_usage(got.error().text);
    }
    if (parts.empty()) return wrong_usage("usage: ferry_check [--csv FILE] FILE...");
    const History history = merge(std::move(parts));
    if (!csv.empty()) {
        std::ofstream out(csv);
        out << losses_csv(history, rules);
        if (!out.flush()) return wrong_usage("cannot write " + csv);
    }
    const Report report = check(history, rules);
    std::fputs(text_of(report, history).c_str(), stdout);
    return report.clean() ? 0 : 1;
}
