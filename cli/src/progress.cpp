#include "progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "output.hpp"

namespace ferry::cli {
namespace {

using std::chrono::steady_clock;
constexpr auto quiet_at_first = std::chrono::milliseconds(500);
constexpr auto redraw_every = std::chrono::milliseconds(100);

}  // namespace

Progress::Progress(std::string what, std::uint64_t total, bool bytes)
    : what_(std::move(what)),
      total_(total),
      bytes_(bytes),
      terminal_(::isatty(STDERR_FILENO) == 1),
      began_(steady_clock::now()),
      next_(began_ + quiet_at_first) {}

Progress::~Progress() {
    finish();
}

void Progress::at(std::uint64_t done) {
    if (!terminal_) return;
    const auto now = steady_clock::now();
    if (now < next_) return;
    next_ = now + redraw_every;
    draw(done, now);
}

void Progress::finish() {
    if (drawn_) std::fputs("\r\033[K", stderr);
    drawn_ = false;
    terminal_ = false;
}

void Progress::draw(std::uint64_t done, steady_clock::time_point now) {
    drawn_ = true;
    const double seconds = std::chrono::duration<double>(now - began_).count();
    const auto rate = static_cast<std::uint64_t>(static_cast<double>(done) / seconds);
    std::string line = what_ + " ";
    if (total_ > 0) {
        constexpr std::size_t width = 30;
        const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
        const auto filled = static_cast<std::size_t>(share * width);
        line += "[" + std::string(filled, '#') + std::string(width - filled, '.') + "] " +
                std::to_string(static_cast<int>(share * 100)) + "% ";
    }
    line += bytes_ ? human_bytes(done) + ", " + human_bytes(rate) + "/s"
                   : with_commas(done) + ", " + with_commas(rate) + "/s";
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    std::fflush(stderr);
}

}  // namespace ferry::cli
