#include "reach.hpp"

#include <chrono>
#include <thread>

namespace ferry::cli {
namespace {

using Say = std::function<void(std::string_view)>;

constexpr std::chrono::milliseconds again_after{200};

std::unique_ptr<transport::Client> reach(const Context& context, const std::string& name,
                                         const Say& say) {
    bool told = false;
    while (!interrupted()) {
        transport::ClientOptions options;
        options.name = name;
        options.connect_timeout_ms = 1000;
        auto client = connect(context, std::move(options));
        if (client.ok()) return std::move(client).value();
        if (!goes_away(client.error().code)) {
            fail(client.error());
            return nullptr;
        }
        if (!told) say("waiting for the broker at " + context.url);
        told = true;
        std::this_thread::sleep_for(again_after);
    }
    return nullptr;
}

}  // namespace

bool goes_away(Errc code) {
    return code == Errc::unreachable || code == Errc::indeterminate || code == Errc::would_block;
}

std::unique_ptr<transport::Client> reach_and_declare(const Context& context,
                                                     const std::string& name,
                                                     const std::set<std::string>& queues,
                                                     const Say& say) {
    for (;;) {
        auto client = reach(context, name, say);
        if (!client) return nullptr;
        bool away = false;
        for (const std::string& queue : queues) {
            auto declared = client->declare_queue(queue);
            if (declared.ok()) continue;
            away = goes_away(declared.error().code);
            if (!away) {
                fail(declared.error());
                return nullptr;
            }
            break;
        }
        if (!away) return client;
        say("the broker went away: trying again");
        client.reset();
        std::this_thread::sleep_for(again_after);
    }
}

}  // namespace ferry::cli
