#include <cstdio>

#include "ferry/outbox/outbox.hpp"
#include "ferry/transport/client.hpp"

// A stranger's program: enough to prove that headers, libraries and their dependencies are all
// there.
int main() {
    ferry::transport::ClientOptions options;
    options.url = "ferry://127.0.0.1:1";  // nobody listens there
    options.connect_timeout_ms = 200;
    const auto client = ferry::transport::Client::connect(options);
    std::puts(client.ok() ? "connected?" : "linked, and port 1 is silent");
    const auto outbox = ferry::outbox::Outbox::open("/nonexistent/app.db");
    std::puts(outbox.ok() ? "opened?" : outbox.error().text.c_str());
    return client.ok() || outbox.ok() ? 1 : 0;
}
