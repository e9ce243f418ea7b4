#pragma once

#include <memory>
#include <string>

#include "client.hpp"
#include "ferry/transport/client.hpp"
#include "library_tap.hpp"
#include "native/core.hpp"
#include "uv/loop.hpp"

namespace ferry::simulation {

/// A process that uses the client library as applications do; only its loop is the world's. What
/// the library says to the broker is noted by a tap, what it tells the process is compared with
/// what the broker said.
class LibraryClient : public Mortal, private uv::Surroundings, protected LibraryTap::User {
public:
    LibraryClient(Stage& stage, std::uint32_t process, std::uint32_t queue);
    ~LibraryClient() override { finish(); }

    void start(std::uint64_t after_ns = 0);
    void stop_for(std::uint64_t ns) override;
    void kill(std::uint64_t down_ns) override;
    [[nodiscard]] std::uint32_t process() const { return process_; }
    /// Empty, or why the run cannot have come to rest.
    [[nodiscard]] virtual std::string unrest() const;

protected:
    // ---- what a process is ----
    /// Of the life that begins.
    virtual void choose(transport::ClientOptions& options) = 0;
    /// The library is there; it has no connection yet.
    virtual void begun() {}
    /// What was in memory is gone.
    virtual void on_killed() {}
    /// Its connection is gone, and what was delivered over it.
    virtual void on_lost() {}

    // ---- what it can do ----
    /// Nothing is told to it any more. Its destructor calls this before it lets go of anything.
    void finish();
    [[nodiscard]] transport::Client& client() { return *client_; }
    [[nodiscard]] const std::shared_ptr<transport::native::Core>& core() { return core_; }
    [[nodiscard]] bool lives() const { return client_ != nullptr && !dying_; }
    void declare(std::uint32_t queue);
    /// After `ns`, but not while it stands still.
    void later(std::uint64_t ns, std::function<void()> what);
    void wrong(const std::string& what);
    [[nodiscard]] const Note* published(std::uint64_t /*id*/) const override { return nullptr; }
    [[nodiscard]] LibraryTap* tap() const { return tap_.get(); }
    [[nodiscard]] std::uint64_t life_number() const { return life_number_; }

    Stage& stage_;
    World& world_;
    const std::uint32_t process_;
    const std::uint32_t queue_;  // that it consumes; 0: none

private:
    ConnectionRef connect() override;
    void said(Bytes bytes) override;
    void hung_up() override;
    void begin();
    [[nodiscard]] transport::ClientOptions options();

    SeededRandom random_;
    Life life_;
    std::uint64_t life_number_ = 0;
    std::unique_ptr<uv::Loop> loop_;
    std::shared_ptr<transport::native::Core> core_;
    std::unique_ptr<transport::Client> client_;
    bool dying_ = false;
    ConnectionRef connection_;
    std::shared_ptr<LibraryTap> tap_;
};

}  // namespace ferry::simulation
