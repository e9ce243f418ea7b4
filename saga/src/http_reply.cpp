#include "http_reply.hpp"

#include <algorithm>

#include "values.hpp"

namespace ferry::saga {
namespace {

/// What a person wants to read of an error's body: its sentence if it is JSON with one, as RFC 9457
/// and most others have it.
std::string words_of(const std::string& body) {
    if (const auto json = parse_json(body); json && json->is_object()) {
        for (const char* name : {"reason", "detail", "error", "message", "title"}) {
            const auto found = json->find(name);
            if (found != json->end() && found->is_string()) return found->get<std::string>();
        }
    }
    std::string out = body.substr(0, limits::reason_bytes_max);
    std::replace_if(
        out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
    return out;
}

Reply done(const HttpAnswer& answer) {
    Reply out;
    out.answer = Answer::done;
    if (answer.body_cut) {
        out.reason = "its answer was dropped: it has more than " +
                     std::to_string(limits::http_answer_bytes_max) + " bytes";
    } else if (!answer.body.empty() && !parse_json(answer.body)) {
        out.reason = "its answer was dropped: it is no JSON";
    } else {
        out.result = answer.body;
    }
    return out;
}

Answer meaning(int status, bool asked_to_wait, bool repeated) {
    switch (status) {
        case 408:  // the request did not arrive in time, whole
        case 425:
        case 429:
        case 503:
            return Answer::again;
        case 409:
            // Of a call that was made before it may say "still at work on it".
            if (asked_to_wait) return Answer::again;
            return repeated ? Answer::unknown : Answer::failed;
        default:
            // A server that failed may have failed behind the effect.
            return status >= 500 ? Answer::unknown : Answer::failed;
    }
}

}  // namespace

Reply reply_of(const HttpAnswer& answer, bool repeated) {
    if (answer.kind == HttpAnswer::Kind::answered && answer.status >= 200 && answer.status < 300) {
        return done(answer);
    }
    Reply out;
    out.wait_ms = answer.retry_after_ms;
    if (answer.kind != HttpAnswer::Kind::answered) {
        const bool sent = answer.kind == HttpAnswer::Kind::unknown;
        out.answer = sent ? Answer::unknown : Answer::again;
        out.reason = answer.problem;
        return out;
    }
    out.answer = meaning(answer.status, answer.retry_after_ms != 0, repeated);
    out.reason = "HTTP " + std::to_string(answer.status);
    if (answer.status >= 300 && answer.status < 400) out.reason += ": redirects are not followed";
    if (const std::string words = words_of(answer.body); !words.empty()) out.reason += ": " + words;
    return out;
}

std::string idempotency_key(std::string_view saga, std::string_view step, Op op) {
    std::string out;
    const auto add = [&out](std::string_view text) {
        for (const char c : text) {
            const auto byte = static_cast<unsigned char>(c);
            if (byte > 0x20 && byte < 0x7f && c != '%' && c != '"' && c != '\\') {
                out += c;
                continue;
            }
            out += '%';
            out += "0123456789ABCDEF"[byte >> 4U];
            out += "0123456789ABCDEF"[byte & 15U];
        }
    };
    add(saga);
    out += '/';
    add(step);
    out += op == Op::undo ? "/undo" : "/act";
    return out;
}

}  // namespace ferry::saga
