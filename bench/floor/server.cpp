#include "server.hpp"

#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "ferry/platform/crc32c.hpp"
#include "frames.hpp"
#include "sync_writer.hpp"

namespace ferry::floor {
namespace {

constexpr std::size_t read_bytes = 1U << 20;

class FloorServer {
public:
    FloorServer(const std::string& path, bool deliver) : deliver_(deliver) {
        uv_loop_init(&loop_);
        uv_async_init(&loop_, &wake_, [](uv_async_t* wake) { self(wake->loop)->on_durable(); });
        loop_.data = this;
        writer_ = std::make_unique<SyncWriter>(path, [this] { uv_async_send(&wake_); });
        listen();
    }

    std::uint16_t port() {
        sockaddr_in address{};
        int size = sizeof address;
        uv_tcp_getsockname(&listener_, reinterpret_cast<sockaddr*>(&address), &size);
        return ntohs(address.sin_port);
    }

    ServerReport run() {
        uv_run(&loop_, UV_RUN_DEFAULT);
        ServerReport report;
        report.syncs = writer_->syncs();
        report.messages = received_;
        writer_.reset();
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        report.cpu_seconds =
            static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
            static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
        return report;
    }

private:
    struct Connection {
        uv_tcp_t handle{};
        FrameBuffer buffer;
        FloorServer* server = nullptr;
    };
    struct Write {
        uv_write_t request{};
        std::string bytes;
    };
    struct Waiting {
        std::uint64_t mark;
        std::string frame;
    };

    static FloorServer* self(uv_loop_t* loop) { return static_cast<FloorServer*>(loop->data); }

    void listen() {
        sockaddr_in address{};
        uv_ip4_addr("127.0.0.1", 0, &address);
        uv_tcp_init(&loop_, &listener_);
        uv_tcp_bind(&listener_, reinterpret_cast<const sockaddr*>(&address), 0);
        uv_listen(reinterpret_cast<uv_stream_t*>(&listener_), 16,
                  [](uv_stream_t* stream, int) { self(stream->loop)->accept(); });
    }

    void accept() {
        auto* connection = new Connection;
        connection->server = this;
        connection->handle.data = connection;
        uv_tcp_init(&loop_, &connection->handle);
        uv_accept(reinterpret_cast<uv_stream_t*>(&listener_),
                  reinterpret_cast<uv_stream_t*>(&connection->handle));
        uv_tcp_nodelay(&connection->handle, 1);
        ++open_;
        uv_read_start(
            reinterpret_cast<uv_stream_t*>(&connection->handle),
            [](uv_handle_t* handle, std::size_t, uv_buf_t* out) {
                const auto room = static_cast<Connection*>(handle->data)->buffer.room(read_bytes);
                *out = uv_buf_init(reinterpret_cast<char*>(room.data()),
                                   static_cast<unsigned int>(room.size()));
            },
            [](uv_stream_t* stream, ssize_t got, const uv_buf_t*) {
                auto* from = static_cast<Connection*>(stream->data);
                from->server->on_read(*from, got);
            });
    }

    void on_read(Connection& from, ssize_t got) {
        if (got < 0) return leave(from);
        from.buffer.filled(static_cast<std::size_t>(got));
        const std::byte* first = nullptr;
        const std::byte* last = nullptr;
        while (const auto frame = from.buffer.next()) {
            if (first == nullptr) first = frame->whole.data();
            last = frame->whole.data() + frame->whole.size();
            on_frame(from, *frame);
        }
        // All frames of one read are one piece of memory: one append, as they came.
        if (first != nullptr && &from != consumer_) {
            writer_->add({first, static_cast<std::size_t>(last - first)}, received_);
        }
    }

    void on_frame(Connection& from, const Frame& frame) {
        switch (frame.kind) {
            case Kind::consumer:
                consumer_ = &from;
                return;
            case Kind::ack: {
                checksum_ += crc32c(frame.whole);
                writer_->add(frame.whole, received_);
                return;
            }
            case Kind::publish:
                producer_ = &from;
                checksum_ += walk(frame) + crc32c(frame.whole);
                received_ += frame.number;
                if (deliver_) waiting_.push_back({received_, std::string(as_text(frame.whole))});
                return;
            case Kind::confirm:
                return;  // never sent to a server
        }
    }

    void on_durable() {
        const std::uint64_t durable = writer_->durable();
        if (durable > confirmed_ && producer_ != nullptr) {
            confirmed_ = durable;
            std::string confirm;
            put_frame(confirm, Kind::confirm, durable);
            send(*producer_, std::move(confirm));
        }
        std::string deliveries;
        while (!waiting_.empty() && waiting_.front().mark <= durable) {
            deliveries += waiting_.front().frame;
            waiting_.pop_front();
        }
        if (consumer_ != nullptr && !deliveries.empty()) send(*consumer_, std::move(deliveries));
    }

    static void send(Connection& to, std::string bytes) {
        auto* write = new Write;
        write->bytes = std::move(bytes);
        write->request.data = write;
        const uv_buf_t buffer =
            uv_buf_init(write->bytes.data(), static_cast<unsigned int>(write->bytes.size()));
        uv_write(&write->request, reinterpret_cast<uv_stream_t*>(&to.handle), &buffer, 1,
                 [](uv_write_t* request, int) { delete static_cast<Write*>(request->data); });
    }

    void leave(Connection& connection) {
        if (producer_ == &connection) producer_ = nullptr;
        if (consumer_ == &connection) consumer_ = nullptr;
        uv_close(reinterpret_cast<uv_handle_t*>(&connection.handle),
                 [](uv_handle_t* handle) { delete static_cast<Connection*>(handle->data); });
        if (--open_ == 0) uv_stop(&loop_);
    }

    const bool deliver_;
    uv_loop_t loop_{};
    uv_async_t wake_{};
    uv_tcp_t listener_{};
    std::unique_ptr<SyncWriter> writer_;
    Connection* producer_ = nullptr;
    Connection* consumer_ = nullptr;
    int open_ = 0;
    std::uint64_t received_ = 0;
    std::uint64_t confirmed_ = 0;
    std::uint64_t checksum_ = 0;
    std::deque<Waiting> waiting_;
};

}  // namespace

void serve(const std::string& path, bool deliver, int pipe) {
    FloorServer server(path, deliver);
    const std::uint16_t port = server.port();
    FERRY_ASSERT(write(pipe, &port, sizeof port) == sizeof port, "the client waits for the port");
    const ServerReport report = server.run();
    FERRY_ASSERT(write(pipe, &report, sizeof report) == sizeof report, "the client waits for it");
}

}  // namespace ferry::floor
