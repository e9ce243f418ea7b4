#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ferry/transport/service.hpp"
#include "ferry/wire/cursor.hpp"

namespace ferry::transport::native {

class Core;
struct Request;

/// Threads   `mutex` guards the metadata; service, instance and ttl_ms do not change; the rest is
///           the I/O thread's.
struct KeptRegistration {
    std::string service;
    std::string instance;
    std::uint64_t ttl_ms = 0;

    std::mutex mutex;
    Metadata metadata;

    std::uint64_t generation = 0;  // of the connection that knows of it
    std::uint64_t sent_ns = 0;     // of the last word about it
};
using KeptRegistrationPtr = std::shared_ptr<KeptRegistration>;

/// Threads   `call_mutex` is held while the handler runs; `mutex` guards what is below it.
struct KeptWatch {
    using Known = std::map<std::pair<std::string, std::string>, Metadata>;

    std::string service;
    ServiceHandler handler;
    std::mutex call_mutex;
    bool silenced = false;  // under call_mutex

    std::mutex mutex;
    std::condition_variable changed;
    bool complete = false;  // what is there is known
    bool failed = false;
    ClientError error;
    Known known;

    std::uint64_t generation = 0;           // the I/O thread's, as what follows
    std::atomic<std::uint64_t> request{0};  // also read by who ends the watch
    bool in_snapshot = false;
    Known snapshot;
};
using KeptWatchPtr = std::shared_ptr<KeptWatch>;

/// Keeps instances registered and watches going, over lost connections.
///
/// Threads   The functions that add and forget: any. The rest: the I/O thread.
class ServiceKeeper {
public:
    explicit ServiceKeeper(Core& core) : core_(core) {}

    void add(const KeptRegistrationPtr& registration);
    void forget(const KeptRegistration& registration);
    void add(const KeptWatchPtr& watch);
    void forget(const KeptWatch& watch);

    void pump();
    /// False: malformed.
    [[nodiscard]] bool on_told(std::uint64_t request, wire::Cursor& cursor);
    /// Keeps alive what is to be kept alive. Called when the timer rings.
    void look();

private:
    void send(const KeptRegistrationPtr& registration, bool whole);
    void send(const KeptWatchPtr& watch);
    void take(KeptWatch& watch, std::uint64_t flags, KeptWatch::Known changes,
              std::vector<std::pair<std::string, std::string>> gone);

    Core& core_;
    std::mutex mutex_;
    std::vector<KeptRegistrationPtr> registrations_;
    std::vector<KeptWatchPtr> watches_;
    bool fresh_ = false;
    std::uint64_t generation_ = 0;  // that was looked at
};

/// Fields of SERVICE. Null: a keep-alive.
void encode_service(wire::Buffer& out, const KeptRegistration& registration,
                    const Metadata* metadata, std::uint64_t ttl_ms);
[[nodiscard]] bool read_metadata(wire::Cursor& cursor, Metadata& out);

}  // namespace ferry::transport::native
