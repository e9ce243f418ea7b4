#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ferry::cli {

/// A progress line on stderr, drawn at most ten times a second and only when stderr is a terminal.
/// Nothing is drawn for work that ends within half a second. Threads: one.
class Progress {
public:
    /// `total` 0: unknown. `bytes`: figures are bytes, not messages.
    Progress(std::string what, std::uint64_t total, bool bytes = false);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// Cheap enough for every step of a loop that does real work.
    void at(std::uint64_t done);
    /// Removes the line.
    void finish();

private:
    void draw(std::uint64_t done, std::chrono::steady_clock::time_point now);

    std::string what_;
    std::uint64_t total_;
    bool bytes_;
    bool terminal_;
    bool drawn_ = false;
    std::chrono::steady_clock::time_point began_;
    std::chrono::steady_clock::time_point next_;
};

}  // namespace ferry::cli
