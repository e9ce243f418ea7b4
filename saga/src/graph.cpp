#include <algorithm>

#include "ferry/saga/definition_file.hpp"

namespace ferry::saga {
namespace {

std::string route_of(const Route& route) {
    if (!route.url.empty()) return route.method + " " + route.url;
    return route.exchange.empty() ? route.key : route.exchange + ":" + route.key;
}

std::string marks(const Step& step) {
    std::string out;
    if (step.pivot) out += "  PIVOT";
    if (step.retriable) out += "  retriable";
    if (!step.when.empty()) {
        out += "  when";
        for (const Condition& one : step.when) out += " " + one.at;
    }
    return out;
}

std::string does(const Step& step) {
    switch (step.kind) {
        case StepKind::command:
            return "-> " + route_of(step.command);
        case StepKind::signal:
            return "waits for the signal";
        case StepKind::saga:
            return "-> saga " + step.saga;
        case StepKind::decision:
            return "is written down";
    }
    return {};
}

std::string in_quotes(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

/// Steps that run at the same time.
std::vector<std::vector<const Step*>> rows(const Definition& definition) {
    std::vector<std::vector<const Step*>> out;
    for (const Step& step : definition.steps) {
        const bool joins =
            !out.empty() && !step.group.empty() && out.back().front()->group == step.group;
        if (!joins) out.emplace_back();
        out.back().push_back(&step);
    }
    return out;
}

}  // namespace

std::string graph_text(const Definition& definition) {
    std::size_t width = 0;
    for (const Step& step : definition.steps) width = std::max(width, step.name.size());
    std::string out = definition.name + " version " + std::to_string(definition.version) +
                      ", deadline " + std::to_string(definition.deadline_ms) + " ms\n";
    bool first = true;
    for (const auto& row : rows(definition)) {
        if (!first) out += "    |\n";
        first = false;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const Step& step = *row[i];
            const char* bracket = row.size() == 1       ? "  "
                                  : i == 0              ? " /"
                                  : i + 1 == row.size() ? " \\"
                                                        : " |";
            out += std::string(bracket) + " [" + step.name + "]" +
                   std::string(width - step.name.size(), ' ') + " " + does(step) + marks(step);
            if (step.compensation) out += "   undo: " + route_of(*step.compensation);
            out += "\n";
        }
    }
    return out;
}

std::string graph_dot(const Definition& definition) {
    std::string out = "digraph " + in_quotes(definition.name) +
                      " {\n  rankdir=TB;\n  node [shape=box, style=rounded, "
                      "fontname=\"sans-serif\"];\n";
    for (const Step& step : definition.steps) {
        std::string label = step.name + "\n" + does(step) + marks(step);
        std::string text = in_quotes(label);
        for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos;) {
            text.replace(at, 1, "\\n");
        }
        out += "  " + in_quotes(step.name) + " [label=" + text;
        if (step.pivot) out += ", penwidth=3";
        if (step.kind == StepKind::signal) out += ", style=dashed";
        out += "];\n";
        if (step.compensation) {
            const std::string undo = "undo " + step.name;
            out += "  " + in_quotes(undo) +
                   " [label=" + in_quotes("undo: " + route_of(*step.compensation)) +
                   ", shape=plaintext, fontcolor=gray40];\n  " + in_quotes(step.name) + " -> " +
                   in_quotes(undo) + " [style=dotted, arrowhead=none];\n";
        }
    }
    const auto all = rows(definition);
    for (std::size_t i = 1; i < all.size(); ++i) {
        for (const Step* from : all[i - 1]) {
            for (const Step* to : all[i]) {
                out += "  " + in_quotes(from->name) + " -> " + in_quotes(to->name) + ";\n";
            }
        }
    }
    return out + "}\n";
}

}  // namespace ferry::saga
