#include "context.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "ferry/secure/users.hpp"
#include "ferry/transport/kafka/settings.hpp"
#include "password.hpp"

namespace ferry::cli {
namespace {

volatile std::sig_atomic_t stop_asked = 0;

void on_signal(int) {
    stop_asked = 1;
}

}  // namespace

int fail(int status, std::string_view text) {
    std::fprintf(stderr, "ferry: %.*s\n", static_cast<int>(text.size()), text.data());
    return status;
}

int fail(const transport::ClientError& error) {
    const bool no_answer = error.code == Errc::unreachable || error.code == Errc::indeterminate;
    std::string text = error.text.empty() ? std::string("the broker refused") : error.text;
    if (error.wire_code != wire::Code::ok) {
        const wire::CodeInfo& info = wire::code_info(error.wire_code);
        text = std::string(info.name) + ": " + text;
    }
    // What the client library itself will not send, such as a bad URL, is a mistake on the command
    // line.
    const bool own = error.code == Errc::rejected && error.wire_code == wire::Code::ok;
    return fail(no_answer ? exit_unreachable : own ? exit_usage : exit_refused, text);
}

int fail(const Error& error, std::string_view doing) {
    std::string text(doing);
    text += ": ";
    text += error.what;
    if (error.os_errno != 0) text += std::string(" (") + std::strerror(error.os_errno) + ")";
    const bool no_answer = error.code == Errc::unreachable || error.code == Errc::indeterminate;
    return fail(no_answer ? exit_unreachable : exit_refused, text);
}

transport::Answer<std::unique_ptr<transport::Client>> connect(const Context& context,
                                                              transport::ClientOptions options) {
    if (transport::kafka::is_kafka_url(context.url)) {
        return transport::ClientError{
            Errc::not_found, wire::Code::not_supported,
            "this command is for ferryd only; with kafka:// there are publish, consume, bench, "
            "relay, saga serve and bridge (docs/kafka.md)"};
    }
    options.url = context.url;
    options.security = context.security;
    options.name = "ferry";
    return transport::Client::connect(std::move(options));
}

transport::Answer<std::unique_ptr<transport::Client>> connect(const Context& context) {
    transport::ClientOptions options;
    options.publisher = false;
    return connect(context, std::move(options));
}

bool find_password(Context& context) {
    std::string wrong;
    std::optional<std::string> password;
    if (!context.password_file.empty()) {
        password = secure::read_secret_file(context.password_file, wrong);
    } else if (!context.security.user.empty()) {
        password = ask_password("Password of " + context.security.user + ": ", wrong);
    } else {
        return true;
    }
    if (password) {
        context.security.password = std::move(*password);
        return true;
    }
    fail(exit_usage, wrong);
    return false;
}

void catch_interrupts() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
    return stop_asked != 0;
}

}  // namespace ferry::cli
