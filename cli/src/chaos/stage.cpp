#include "chaos/stage.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "context.hpp"

namespace ferry::cli::chaos {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds turn{2};
constexpr milliseconds start_patience{30'000};
constexpr std::size_t shown_bytes = 1500;
constexpr std::uint32_t relays = 2;
/// Short, or the runs would be about waiting for dead relays.
constexpr const char* relay_lease = "500ms";

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/// A port that nobody has now; 0: none could be found.
std::uint16_t free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return 0;
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    const bool found = ::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                       ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
    ::close(fd);
    return found ? ntohs(address.sin_port) : std::uint16_t{0};
}

bool listens(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    const sockaddr_in address = loopback(port);
    const bool answered =
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return answered;
}

}  // namespace

std::string last_lines(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(in), {}};
    if (text.size() > shown_bytes) text.erase(0, text.size() - shown_bytes);
    return text;
}

// ---- a program ----

Program::Program(Role role, std::string name, std::uint32_t process,
                 std::vector<std::string> command, Child::Environment environment,
                 std::string output)
    : role_(role),
      name_(std::move(name)),
      process_(process),
      command_(std::move(command)),
      environment_(std::move(environment)),
      output_(std::move(output)) {}

Program::~Program() {
    if (!child_) return;
    child_->send(SIGKILL);
    reap(steady_clock::now() + start_patience);
}

Went Program::start() {
    auto child = Child::start_apart(command_, environment_, output_);
    if (!child.ok()) {
        return Trouble{"cannot start " + command_.front() + ": " + std::string(child.error().what)};
    }
    child_ = std::move(child).value();
    return Done{};
}

void Program::kill(Recorder& recorder) {
    if (!child_) return;
    // Noted before: whoever gets what it held gets it after this.
    recorder.add(process_, history::What::crash, history::Type::ok);
    child_->send(SIGKILL);
    reap(steady_clock::now() + start_patience);
    paused_until_.reset();
    ++kills;
}

void Program::pause(steady_clock::time_point until) {
    if (!running() || paused_until_) return;
    child_->send(SIGSTOP);
    paused_until_ = until;
    ++pauses;
}

void Program::wake(bool in_any_case) {
    if (!paused_until_ || (!in_any_case && steady_clock::now() < *paused_until_)) return;
    if (child_) child_->send(SIGCONT);
    paused_until_.reset();
}

bool Program::running() {
    if (child_ && child_->poll()) child_.reset();
    return child_.has_value();
}

int Program::stop(milliseconds patience) {
    wake(true);
    if (!running()) return exit_done;
    child_->send(SIGTERM);
    const auto deadline = steady_clock::now() + patience;
    while (steady_clock::now() < deadline) {
        if (const auto status = child_->poll()) {
            child_.reset();
            return *status;
        }
        std::this_thread::sleep_for(turn);
    }
    child_->send(SIGKILL);
    return reap(steady_clock::now() + start_patience);
}

int Program::reap(steady_clock::time_point deadline) {
    std::optional<int> status;
    while (!(status = child_->poll()) && steady_clock::now() < deadline) {
        std::this_thread::sleep_for(turn);
    }
    child_.reset();
    return status.value_or(128 + SIGKILL);
}

// ---- all of them ----

ResultOr<std::unique_ptr<Stage>, Trouble> Stage::make(const Plan& plan) {
    std::unique_ptr<Stage> stage(new Stage(plan));
    if (auto wrote = stage->write_files(); !wrote.ok()) return wrote.error();
    stage->port_ = free_port();
    if (stage->port_ == 0) return Trouble{"no port is free on 127.0.0.1"};
    stage->url_ = "ferry://127.0.0.1:" + std::to_string(stage->port_);
    stage->list_programs();
    return stage;
}

Went Stage::write_files() {
    std::error_code failed;
    std::filesystem::create_directories(path("handler"), failed);
    if (failed) return Trouble{"cannot make " + path("handler") + ": " + failed.message()};
    if (std::filesystem::exists(path("data"))) {
        return Trouble{plan_.directory + " has a run in it already: take an empty directory"};
    }
    std::ofstream file(path("ferryd.toml"));
    // Small files, so that rolls, checkpoints and compaction happen in a short run.
    file << "[log]\nsegment_bytes = \"4MiB\"\ncheckpoint_bytes = \"1MiB\"\n";
    if (!file.flush()) return Trouble{"cannot write " + path("ferryd.toml")};
    return Done{};
}

Child::Environment Stage::environment(std::uint32_t worker) const {
    return {{"FERRY_URL", url_},
            {"FERRY_QUEUE", plan_.queue},
            {"FERRY_CHAOS_DIR", path("handler")},
            {"FERRY_CHAOS_WORKER", std::to_string(worker)}};
}

void Stage::list_programs() {
    const std::string listen = "127.0.0.1:" + std::to_string(port_);
    programs_.emplace_back(
        Role::broker, "broker", broker_process,
        std::vector<std::string>{plan_.ferryd, "--config", path("ferryd.toml"), "--data",
                                 path("data"), "--listen", listen, "--http", ""},
        Child::Environment{}, path("broker.log"));
    for (std::uint32_t relay = 0; relay < relays; ++relay) {
        const std::string name = "relay-" + std::to_string(relay + 1);
        programs_.emplace_back(Role::relay, name, relay_process + relay,
                               std::vector<std::string>{plan_.program, "--url", url_, "relay",
                                                        path("outbox.db"), "--lease", relay_lease},
                               Child::Environment{}, path(name + ".log"));
    }
    for (std::uint32_t worker = 1; worker <= plan_.consumers; ++worker) {
        std::vector<std::string> command = plan_.handler;
        if (command.empty()) {
            command = {plan_.program, "chaos", "handler", path("handler/") + effects_file,
                       "--lease=" + std::to_string(plan_.lease.count()) + "ms"};
            if (plan_.mistake == Mistake::ack_first) command.emplace_back("--mistake=ack-first");
            if (plan_.mistake == Mistake::no_inbox) command.emplace_back("--mistake=no-inbox");
        }
        const std::string name = "consumer-" + std::to_string(worker);
        programs_.emplace_back(Role::consumer, name, first_consumer_process + worker,
                               std::move(command), environment(worker), path(name + ".log"));
    }
}

Went Stage::start_broker() {
    if (auto started = broker().start(); !started.ok()) return started;
    const auto deadline = steady_clock::now() + start_patience;
    while (!listens(port_)) {
        if (!broker().running()) {
            return Trouble{"ferryd ended by itself:\n" + last_lines(broker().output())};
        }
        if (steady_clock::now() > deadline) {
            return Trouble{"ferryd does not listen:\n" + last_lines(broker().output())};
        }
        std::this_thread::sleep_for(turn);
    }
    return Done{};
}

ResultOr<bool, Trouble> Stage::start_missing() {
    bool any = false;
    for (Program& program : programs_) {
        if (program.running()) continue;
        any = true;
        // Only one that runs can end by itself: who was killed is started by whoever killed it.
        ++program.ended_by_itself;
        const bool is_broker = &program == &broker();
        if (auto started = is_broker ? start_broker() : program.start(); !started.ok()) {
            return started.error();
        }
    }
    return any;
}

}  // namespace ferry::cli::chaos
