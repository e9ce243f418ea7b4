#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

namespace ferry::http {

/// Ends connections whose client takes too long for one request, byte after byte: silence alone is
/// what the library under the server looks for, and a few such clients would have all its places.
///
/// Threads   begin(), progress() and end() are the server's; one thread of its own looks once in a
///           quarter of the limit.
/// Lifetime  A socket is shut down between its begin() and end() only, and closed by its owner.
class SlowClients {
public:
    explicit SlowClients(std::chrono::milliseconds limit);
    ~SlowClients();
    SlowClients(const SlowClients&) = delete;
    SlowClients& operator=(const SlowClients&) = delete;

    void begin(int socket);
    /// Its request is complete: the time runs for the answer, and for what it asks next.
    void progress(int socket);
    void end(int socket);

private:
    using Clock = std::chrono::steady_clock;
    void watch();

    const std::chrono::milliseconds limit_;
    std::mutex mutex_;
    std::condition_variable stopped_;
    bool stop_ = false;
    std::map<int, Clock::time_point> since_;
    std::thread thread_;
};

}  // namespace ferry::http
